"""What a study looks like in a terminal. Renders records; holds no rules."""

from evolvent.display.progress import Progress, headline, standing
from evolvent.display.table import study_table

__all__ = ["Progress", "headline", "standing", "study_table"]

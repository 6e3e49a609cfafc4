"""What a study looks like in a terminal. Renders records; holds no rules."""

from evolvent.display.progress import Progress, headline, progress_line
from evolvent.display.table import study_table

__all__ = ["Progress", "headline", "progress_line", "study_table"]

"""A study that would explore nothing because all there is to explore are choices."""

from __future__ import annotations

from evolvent.core.distributions import Choice, Constant
from evolvent.core.explore.combined import PerName, explored_names
from evolvent.core.explore.protocol import Explore
from evolvent.core.space import Space
from evolvent.validation import warn

_MOST = 3
"""So many names are written out."""


class NothingExplored(UserWarning):
    """Every hyperparameter that could change is a Choice, and those stay with the weights."""


def warn_of_nothing_explored(explore: Explore, space: Space) -> None:
    """Warn where strategies that stand for all hyperparameters find only choices to be left."""
    left = [name for name, d in space.items() if isinstance(d, Choice) and len(d.values) > 1]
    explored = explored_names(explore, space)
    moves = any(not isinstance(space[name], Constant) for name in explored)
    if left and not moves and not isinstance(explore, PerName):
        names = ", ".join(left[:_MOST]) + (", …" if len(left) > _MOST else "")
        verb = "is a Choice and stays" if len(left) == 1 else "are choices and stay"
        warn(
            f"nothing is explored: {names} {verb} with the weights. To have one drawn anew now "
            f'and then, name it: explore={{"{left[0]}": Resample(0.25)}}, or all of them: '
            "Resample(0.25, choices=True); if its values have an order, make it an Ordinal",
            NothingExplored,
        )

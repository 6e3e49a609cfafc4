"""A population so small that truncation leaves it one donor."""

from __future__ import annotations

from evolvent.core.exploit import Exploit, Truncation
from evolvent.validation import warn

_FEW = (2, 3)


class SmallPopulation(UserWarning):
    """Under truncation a population of two or three has one donor and one member that copies."""


def warn_of_small_population(exploit: Exploit, population: int) -> None:
    """Warn of a population of two or three under truncation, whatever its fraction."""
    if isinstance(exploit, Truncation) and population in _FEW:
        warn(
            f"a population of {population} under Truncation has one donor and one member that "
            "copies it, so one lucky score decides whose weights go on: use BinaryTournament(), "
            "or a larger population, 8 or more",
            SmallPopulation,
        )

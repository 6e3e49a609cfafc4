"""A population so small that nobody is there to be copied, or under truncation one alone."""

from __future__ import annotations

from evolvent.core.exploit import Exploit, NoExploit, Truncation
from evolvent.validation import warn

_FEW = (2, 3)


class SmallPopulation(UserWarning):
    """A population of one copies nobody; under truncation two or three have one donor."""


def warn_of_small_population(exploit: Exploit, population: int, *, explore_all: bool) -> None:
    """Warn of a population of one, and of two or three under truncation, whatever its fraction.

    One member that explores after every round is trained as was asked: of that nothing is said.
    """
    if population == 1 and not explore_all and not isinstance(exploit, NoExploit):
        warn(
            "a population of 1 has nobody to copy, and what nobody copies is not explored: one "
            "model is trained, with the hyperparameters it began with; use a larger population, 8 "
            "or more, or explore_all=True to explore after every round",
            SmallPopulation,
        )
    if isinstance(exploit, Truncation) and population in _FEW:
        warn(
            f"a population of {population} under Truncation has one donor and one member that "
            "copies it, so one lucky score decides whose weights go on: use BinaryTournament(), "
            "or a larger population, 8 or more",
            SmallPopulation,
        )

"""The default of PBT: steps that follow the number of rounds."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import cast

from evolvent.core.distributions import Choice, Constant, Distribution, Integers, Intervals
from evolvent.core.explore.combined import Chain, PerName
from evolvent.core.explore.gaussian import Gaussian
from evolvent.core.explore.perturb import Perturb
from evolvent.core.explore.protocol import Explore
from evolvent.core.explore.resample import Resample
from evolvent.core.explore.too_large import MOST as MOST_OUTSIDE
from evolvent.core.explore.too_large import share_leaving
from evolvent.core.space import Space
from evolvent.validation import MOST

REACH = 1.5
"""How far a lineage that moves in every round comes: a standard deviation of the logarithm."""

WIDTH_REACH = 0.5
"""How far it comes in an interval that is narrow beside that: as a share of its width."""

RESAMPLINGS = 2.5
"""How often, in as many rounds as a study has, such a lineage draws a hyperparameter anew."""

MOST_RESAMPLED = 0.25
"""The probability of drawing anew is never above this, however few the rounds."""

ROUNDS = 20
"""What stands for the number of rounds where no study says it."""


def default_explore(rounds: int, space: Space | None = None) -> Explore:
    """Return `[Perturb(factors=(1 / f, f)), Resample(probability)]` for so many rounds.

    A random walk of n steps of size s comes s * sqrt(n) far: f is exp(1.5 / sqrt(rounds)), so that
    a lineage comes as far in few large steps as in many small ones. The probability is 2.5 /
    rounds, at most 0.25. For 5, 10, 20, 50 rounds: factors of 1.956, 1.607, 1.399, 1.236;
    probabilities of 0.25, 0.25, 0.125, 0.05.

    Where a space has intervals out of which most of these steps would lead, it is a dict instead,
    in which those take other steps: the factors multiply the distance from 1
    (`Perturb(scale="one_minus")`) where the interval ends below 1 and holds most of these, as from
    0.9 to 0.999; else `Gaussian(0.5 / sqrt(rounds), relative_to="width")` adds noise.

    They are rounded, so that they read well and are the same on every machine.

    Args:
        rounds: of the study, 1 or more.
        space: of the study; None where it is not known.

    Source: measured, see docs/zoo.md.
    """
    usual = _usual(rounds)
    narrow = {n: s for n, d in (space or {}).items() if (s := _narrow(rounds, d)) is not None}
    if space is None or not narrow:
        return usual
    names = sorted(n for n, d in space.items() if not isinstance(d, Choice | Constant))
    return PerName(tuple((name, narrow.get(name, usual)) for name in names))


def is_default_explore(explore: Explore, space: Space | None = None) -> bool:
    """Return whether a strategy is what `default_explore` gives for some number of rounds.

    That of a space that is not known is one, too: studies have been stored with it.
    """
    match explore:
        case Chain():
            return _rounds_of(explore) is not None
        case PerName(strategies=strategies):
            found = {_rounds_of(strategy) for _, strategy in strategies} - {None}
            return any(default_explore(cast(int, n), space) == explore for n in found)
        case _:
            return False


@lru_cache(maxsize=128)
def _usual(rounds: int) -> Chain:
    step, decimals = _step(rounds)
    factors = round(math.exp(-step), decimals), round(math.exp(step), decimals)
    return Chain((Perturb(factors=factors), _resample(rounds)))


@lru_cache(maxsize=128)
def _of_width(rounds: int) -> Chain:
    step, decimals = _step(rounds)
    sigma = round(step * WIDTH_REACH / REACH, decimals)
    return Chain((Gaussian(sigma, relative_to="width"), _resample(rounds)))


def _narrow(rounds: int, distribution: Distribution) -> Chain | None:
    """Return what moves a number out of whose bounds most of the usual steps would lead."""
    usual = _usual(rounds)
    perturb, resample = cast(tuple[Perturb, Resample], usual.steps)
    if not isinstance(distribution, Intervals | Integers):
        return None
    if share_leaving(perturb, distribution) <= MOST_OUTSIDE:
        return None
    if isinstance(distribution, Intervals) and distribution.high < 1:
        from_one = replace(perturb, scale="one_minus")
        if share_leaving(from_one, distribution) <= MOST_OUTSIDE:
            return Chain((from_one, resample))
    return _of_width(rounds)


def _step(rounds: int) -> tuple[float, int]:
    """Return the length of a step on a logarithmic scale, and to how many decimals it is kept."""
    # Decimals that go with the step: cut to 1.02 and 0.985, 10,000 rounds would drift upwards.
    return REACH / math.sqrt(rounds), 3 + (len(str(rounds)) - 1) // 2


def _resample(rounds: int) -> Resample:
    return Resample(float(f"{min(MOST_RESAMPLED, RESAMPLINGS / rounds):.3g}"))


def _rounds_of(explore: Explore) -> int | None:
    """Return a number of rounds for which these are steps of the default; None if there is none."""
    make: Callable[[int], Chain]
    match explore:
        case Chain(steps=(Perturb(factors=(_, _)) as perturb, Resample() as resample)):
            explore, make = Chain((replace(perturb, scale="value"), resample)), _usual
        case Chain(steps=(Gaussian(), Resample())):
            make = _of_width
        case _:
            return None
    wanted = _size(explore)
    for digits in range(1, len(str(MOST)) + 1):
        # Of two numbers of as many digits, and so of factors with as many decimals, the larger one
        # never has the larger steps: what is looked for stands where they come down to it.
        rounds = range(10 ** (digits - 1), 10**digits)
        i = bisect_left(rounds, wanted, key=lambda n: _size(make(n)))
        if i < len(rounds) and make(rounds[i]) == explore:
            return rounds[i]
    return None


def _size(explore: Explore) -> tuple[float, float, float]:
    """Return what sorts default explores of a kind from the largest steps to the smallest."""
    step, resample = cast(tuple[Perturb | Gaussian, Resample], cast(Chain, explore).steps)
    up = down = step.sigma if isinstance(step, Gaussian) else 0.0
    if isinstance(step, Perturb):
        down, up = cast(tuple[float, float], step.factors)
    return -up, down, -resample.probability

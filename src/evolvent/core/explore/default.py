"""The default of PBT: steps that follow the number of rounds."""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import lru_cache
from typing import cast

from evolvent.core.explore.combined import Chain
from evolvent.core.explore.perturb import Perturb
from evolvent.core.explore.protocol import Explore
from evolvent.core.explore.resample import Resample
from evolvent.validation import MOST

REACH = 1.5
"""How far a lineage that moves in every round comes: a standard deviation of the logarithm."""

RESAMPLINGS = 2.5
"""How often, in as many rounds as a study has, such a lineage draws a hyperparameter anew."""

MOST_RESAMPLED = 0.25
"""The probability of drawing anew is never above this, however few the rounds."""

ROUNDS = 20
"""What stands for the number of rounds where no study says it."""


@lru_cache(maxsize=128)
def default_explore(rounds: int) -> Chain:
    """Return `[Perturb(factors=(1 / f, f)), Resample(probability)]` for so many rounds.

    A random walk of n steps of size s comes s * sqrt(n) far: f is exp(1.5 / sqrt(rounds)), so that
    a lineage comes as far in few large steps as in many small ones. The probability is 2.5 /
    rounds, at most 0.25. For 5, 10, 20, 50 rounds: factors of 1.956, 1.607, 1.399, 1.236;
    probabilities of 0.25, 0.25, 0.125, 0.05.

    They are rounded, so that they read well and are the same on every machine.

    Args:
        rounds: of the study, 1 or more.

    Source: measured, see docs/zoo.md.
    """
    step = REACH / math.sqrt(rounds)
    # Decimals that go with the step: cut to 1.02 and 0.985, 10,000 rounds would drift upwards.
    decimals = 3 + (len(str(rounds)) - 1) // 2
    factors = round(math.exp(-step), decimals), round(math.exp(step), decimals)
    probability = float(f"{min(MOST_RESAMPLED, RESAMPLINGS / rounds):.3g}")
    return Chain((Perturb(factors=factors), Resample(probability)))


def is_default_explore(explore: Explore) -> bool:
    """Return whether a strategy is what `default_explore` gives for some number of rounds."""
    match explore:
        case Chain(steps=(Perturb(factors=(_, _)), Resample())):
            wanted = _size(explore)
        case _:
            return False
    for digits in range(1, len(str(MOST)) + 1):
        # Of two numbers of as many digits, and so of factors with as many decimals, the larger one
        # never has the larger steps: what is looked for stands where they come down to it.
        rounds = range(10 ** (digits - 1), 10**digits)
        i = bisect_left(rounds, wanted, key=lambda n: _size(default_explore(n)))
        if i < len(rounds) and default_explore(rounds[i]) == explore:
            return True
    return False


def _size(explore: Explore) -> tuple[float, float, float]:
    """Return what sorts default explores from the largest steps to the smallest."""
    perturb, resample = cast(tuple[Perturb, Resample], cast(Chain, explore).steps)
    down, up = cast(tuple[float, float], perturb.factors)
    return -up, down, -resample.probability

"""The default of PBT: steps that follow the number of rounds."""

from __future__ import annotations

import math
from functools import lru_cache

from evolvent.core.explore.combined import Chain
from evolvent.core.explore.perturb import Perturb
from evolvent.core.explore.protocol import Explore
from evolvent.core.explore.resample import Resample

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
    """Return `[Perturb((1 / factor, factor)), Resample(probability)]` for so many rounds.

    A random walk of n steps of size s comes s * sqrt(n) far: the factor is exp(1.5 / sqrt(rounds)),
    so that a lineage comes as far in few large steps as in many small ones. The probability is
    2.5 / rounds, at most 0.25. For 5, 10, 20, 50 rounds: factors of 1.956, 1.607, 1.399, 1.236;
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
    return Chain((Perturb(factors), Resample(probability)))


def is_default_explore(explore: Explore) -> bool:
    """Return whether a strategy is what `default_explore` gives for up to a million rounds."""
    match explore:
        case Chain(steps=(Perturb(factors=(down, up)), Resample())) if 0 < down < 1 < up:
            rounds = (REACH / math.log(up)) ** 2  # off by less than 2 %, as the factor is rounded
            if rounds > 1e6:  # too many to be tried
                return False
            near = range(max(1, int(rounds * 0.98)), int(rounds * 1.02) + 2)
            return any(default_explore(n) == explore for n in near)
        case _:
            return False

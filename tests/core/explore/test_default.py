"""The default explores by the number of rounds."""

from __future__ import annotations

import math
from typing import Any

import pytest

from evolvent.core.explore import (
    Chain,
    Gaussian,
    Perturb,
    Resample,
    as_explore,
    default_explore,
    is_default_explore,
)


@pytest.mark.parametrize(
    ("rounds", "factors", "probability"),
    [
        (1, (0.223, 4.482), 0.25),
        (5, (0.511, 1.956), 0.25),
        (10, (0.622, 1.607), 0.25),
        (20, (0.715, 1.399), 0.125),
        (50, (0.809, 1.236), 0.05),
        (200, (0.8994, 1.1119), 0.0125),
        (10_000, (0.98511, 1.01511), 0.00025),
    ],
)
def test_steps_by_rounds(rounds: int, factors: tuple[float, float], probability: float) -> None:
    assert default_explore(rounds) == Chain((Perturb(factors=factors), Resample(probability)))


@pytest.mark.parametrize("rounds", [2, 7, 33, 99, 100, 999, 9_999, 10_000, 123_456, 2**31 - 1])
def test_a_lineage_comes_equally_far_and_drifts_nowhere(rounds: int) -> None:
    perturb: Any = default_explore(rounds).steps[0]
    down, up = map(math.log, perturb.factors)
    assert math.hypot(down, up) * math.sqrt(rounds / 2) == pytest.approx(1.5, rel=0.01)
    assert abs(down + up) / 2 * rounds < 0.01 * 1.5 * rounds**0.5


@pytest.mark.parametrize(
    "rounds",
    [1, 2, 3, 10, 57, 99, 100, 101, 999, 1000, 9_999, 10_000, 33_333_333, 10**9, 2**31 - 1],
)
def test_the_default_is_known_again(rounds: int) -> None:
    assert is_default_explore(default_explore(rounds))


@pytest.mark.parametrize(
    "explore",
    [
        Perturb(),
        Perturb(factors=(0.622, 1.607)),
        [Perturb(factors=(0.622, 1.607)), Resample(0.2)],
        [Perturb(factors=(0.622, 1.607)), Resample(0.25, choices=True)],
        [Perturb(factors=(0.622, 1.607), bounds="reflect"), Resample(0.25)],
        [Perturb(factors=(0.8, 1.2)), Resample(0.25)],
        [Perturb(factors=(1.0000001, 1.0000002)), Resample(0.25)],
        [Perturb(factors=(0.9999999, 1.0000001)), Resample(0.25)],
        [Perturb(low=0.5, high=2), Resample(0.25)],
        [Perturb(factors=(0.5, 1, 2)), Resample(0.25)],
        [Resample(0.25), Perturb(factors=(0.622, 1.607))],
        {"lr": [Perturb(factors=(0.622, 1.607)), Resample(0.25)]},
        Gaussian(0.1),
    ],
)
def test_what_somebody_chose_is_not_the_default(explore: Any) -> None:
    assert not is_default_explore(as_explore(explore))

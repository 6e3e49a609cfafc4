"""The default explores by the number of rounds."""

from __future__ import annotations

import math
from typing import Any

import pytest

from evolvent.core.distributions import (
    Choice,
    IntUniform,
    LogIntUniform,
    LogUniform,
    Normal,
    Ordinal,
    Uniform,
)
from evolvent.core.explore import (
    Chain,
    Gaussian,
    PerName,
    Perturb,
    Resample,
    as_explore,
    default_explore,
    explore_from_json,
    explore_to_json,
    is_default_explore,
)
from evolvent.core.space import Space
from tests.core.builders import seeded


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


LR, GAMMA, CLIP, WIDTH = "lr", "gamma", "clip", "width"
SPACE = Space.of(
    {
        "lr": LogUniform(1e-5, 1),
        "gamma": Uniform(0.9, 0.999),
        "clip": Uniform(0.5, 0.6),
        "width": IntUniform(100, 120),
        "act": Choice(["relu", "gelu"]),
        "fixed": 3,
    }
)


@pytest.mark.parametrize(
    "space",
    [
        {"lr": LogUniform(1e-5, 1), "momentum": Uniform(0.1, 0.999), "act": Choice([1, 2])},
        {"h": Uniform(0, 1), "n": IntUniform(1, 5), "x": Normal(0, 1), "fixed": 0.5},
        {"batch": LogIntUniform(16, 256), "size": Ordinal([1, 2]), "h": Uniform(1e-4, 1.1)},
    ],
)
@pytest.mark.parametrize("rounds", [5, 20, 200])
def test_where_the_usual_steps_fit_they_are_taken(rounds: int, space: dict[str, Any]) -> None:
    assert default_explore(rounds, Space.of(space)) == default_explore(rounds)


def test_narrow_intervals_take_steps_that_fit_them() -> None:
    usual = Chain((Perturb(factors=(0.715, 1.399)), Resample(0.125)))
    of_width = Chain((Gaussian(0.112, relative_to="width"), Resample(0.125)))
    assert default_explore(20, SPACE) == PerName(
        (
            (CLIP, of_width),
            (GAMMA, Chain((Perturb(factors=(0.715, 1.399), scale="one_minus"), Resample(0.125)))),
            (LR, usual),
            (WIDTH, of_width),
        )
    )


def copies(rounds: int, space: Space, start: float) -> list[float]:
    explore, name = default_explore(rounds, space), next(iter(space))
    return [explore({name: start}, space, rng=seeded(i))[name] for i in range(100)]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("distribution", "start"),
    [
        (Uniform(0.9, 0.999), 0.97),
        (Uniform(0.95, 0.9999), 0.99),
        (Uniform(0.5, 0.6), 0.55),
        (LogUniform(1e-3, 1.5e-3), 1.2e-3),
        (IntUniform(100, 120), 110),
    ],
)
@pytest.mark.parametrize("rounds", [10, 40])
def test_copies_in_narrow_intervals_do_not_end_at_bounds(
    rounds: int, distribution: Any, start: float
) -> None:
    found = copies(rounds, Space({"x": distribution}), start)
    at_bounds = sum(x in (distribution.low, distribution.high) for x in found)
    assert at_bounds <= 10  # of 100; the usual steps: 75 and more
    assert len(set(found)) > 5 or distribution.high < 1


@pytest.mark.parametrize("rounds", [1, 2, 7, 10, 33, 99, 100, 1000, 10_000, 10**9])
@pytest.mark.parametrize("names", [(LR, GAMMA, CLIP), (GAMMA,), (CLIP,), (WIDTH, CLIP)])
def test_the_default_of_a_space_is_known_again(rounds: int, names: tuple[str, ...]) -> None:
    space = SPACE.only(names)
    made = default_explore(rounds, space)
    assert is_default_explore(made, space)
    assert explore_from_json(explore_to_json(made)) == made
    assert is_default_explore(default_explore(rounds), space)  # that of a study made before


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

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from evolvent.core.distributions import (
    Choice,
    IntUniform,
    LogIntUniform,
    LogUniform,
    Normal,
    Ordinal,
    ReverseLogUniform,
    Uniform,
)
from evolvent.core.explore import Chain, Gaussian, NoExplore, Perturb, Resample, Shift, as_explore
from evolvent.core.space import Space
from evolvent.errors import ConfigError
from tests.core.builders import seeded


def moves(strategy: Any, distribution: Any, value: Any, *, draws: int = 2000) -> list[Any]:
    """What becomes of one value, over many draws."""
    space = Space({"x": distribution})
    rng = seeded(0)
    return [as_explore(strategy)({"x": value}, space, rng=rng)["x"] for _ in range(draws)]


def test_perturbing_multiplies_by_either_factor_alike() -> None:
    found = moves(Perturb(), Uniform(0, 10), 5.0)
    assert set(found) == {4.0, 6.0}
    assert abs(found.count(4.0) - 1000) < 4 * math.sqrt(500)


def test_perturbing_multiplies_the_value_itself_on_a_logarithmic_scale() -> None:
    assert set(moves(Perturb(factors=(0.5, 2)), LogUniform(1e-5, 1), 0.01)) == {0.005, 0.02}


def test_perturbing_in_a_range_draws_factors_evenly() -> None:
    found = np.array(moves(Perturb(low=0.5, high=1.5), Uniform(0, 10), 2.0))
    assert found.min() > 1.0
    assert found.max() < 3.0
    assert found.mean() == pytest.approx(2.0, abs=4 * 2 / math.sqrt(12 * 2000))
    assert len(set(found)) > 1990


def test_perturbed_values_are_clipped_or_reflected() -> None:
    assert set(moves(Perturb(), Uniform(0, 10), 9.0)) == {7.2, 10.0}
    reflected = moves(Perturb(bounds="reflect"), Uniform(0, 10), 9.0)
    assert sorted(set(reflected)) == pytest.approx([7.2, 9.2])


@pytest.mark.parametrize(
    ("value", "found"), [(5, {4, 6}), (1, {0, 2}), (0, {-1, 1}), (-1, {-2, 0}), (-5, {-6, -4})]
)
def test_perturbed_integers_move_by_one_at_least(value: int, found: set[int]) -> None:
    assert set(moves(Perturb(), IntUniform(-100, 100), value)) == found


@pytest.mark.parametrize(
    ("factor", "value", "found"),
    [(1.2, 1, 2), (1.2, 0, 1), (1.2, -1, -2), (0.8, 1, 0), (0.8, -1, 0)],
)
def test_a_perturbed_integer_goes_where_the_factor_points(
    factor: float, value: int, found: int
) -> None:
    assert set(moves(Perturb(factors=(factor,)), IntUniform(-9, 9), value)) == {found}


def test_a_factor_of_one_leaves_an_integer_alone() -> None:
    assert set(moves(Perturb(factors=(1.0, 2.0)), IntUniform(1, 100), 7)) == {7, 14}


def test_a_negative_float_keeps_its_sign() -> None:
    assert set(moves(Perturb(), Uniform(-10, 10), -5.0)) == {-4.0, -6.0}


def test_resampling_has_its_probability() -> None:
    found = moves(Resample(0.25), Uniform(0, 1), 0.5)
    redrawn = [x for x in found if x != 0.5]
    assert abs(len(redrawn) - 500) < 4 * math.sqrt(375)
    assert np.mean(redrawn) == pytest.approx(0.5, abs=0.06)


def test_gaussian_noise_has_its_deviation_on_the_scale_of_the_distribution() -> None:
    plain = np.array(moves(Gaussian(0.1), Uniform(-10, 10), 1.0))
    assert plain.std() == pytest.approx(0.1, rel=0.08)
    assert plain.mean() == pytest.approx(1.0, abs=0.01)
    logarithmic = np.log(moves(Gaussian(0.1), LogUniform(1e-9, 1), 1e-4))
    assert logarithmic.std() == pytest.approx(0.1, rel=0.08)
    assert logarithmic.mean() == pytest.approx(math.log(1e-4), abs=0.01)


def test_gaussian_integers_round_on_their_scale() -> None:
    found = np.array(moves(Gaussian(0.5), LogIntUniform(1, 10_000), 100))
    assert np.log(found).std() == pytest.approx(0.5, rel=0.08)
    assert set(moves(Gaussian(0.01), IntUniform(0, 100), 50)) == {49, 51}


def test_gaussian_noise_frees_a_value_from_zero() -> None:
    assert 0.0 not in moves(Gaussian(0.1, bounds="reflect"), Uniform(0, 1), 0.0)


def test_shifting_goes_either_way_alike_and_stops_at_the_ends() -> None:
    found = moves(Shift(), IntUniform(0, 9), 5)
    assert set(found) == {4, 6}
    assert abs(found.count(4) - 1000) < 4 * math.sqrt(500)
    assert set(moves(Shift(), Ordinal(["s", "m", "l"]), "s")) == {"s", "m"}


@pytest.mark.parametrize("distribution", [Uniform(0, 1), LogUniform(0.1, 1), Choice([1, 2])])
def test_shift_refuses_what_has_no_next_value(distribution: Any) -> None:
    with pytest.raises(ConfigError, match=f"Shift cannot move x, a {type(distribution).__name__}"):
        Shift().validate(Space({"x": distribution}))


def test_shift_leaves_constants_alone() -> None:
    space = Space.of({"epochs": 3, "n": IntUniform(0, 9)})
    Shift().validate(space)
    assert Shift()({"epochs": 3, "n": 5}, space, rng=seeded(0))["epochs"] == 3


def test_no_explore_changes_nothing() -> None:
    assert set(moves(NoExplore(), Uniform(0, 1), 0.5)) == {0.5}


def test_a_chain_applies_one_strategy_after_the_other() -> None:
    chain = [Perturb(factors=(2.0,)), Perturb(factors=(3.0,))]
    assert isinstance(as_explore(chain), Chain)
    assert set(moves(chain, Uniform(0, 100), 5.0)) == {30.0}


def test_each_hyperparameter_may_have_its_own_strategy() -> None:
    space = Space.of({"a": Uniform(0, 9), "net": {"n": IntUniform(0, 9)}, "c": Uniform(0, 9)})
    explore = as_explore(
        {"net": {"n": Shift()}, "a": [Perturb(factors=(2.0,)), Perturb(factors=(0.5, 0.5))]}
    )
    explore.validate(space)
    found = explore({"a": 3.0, "net.n": 5, "c": 7.0}, space, rng=seeded(0))
    assert found["a"] == 3.0
    assert found["net.n"] in {4, 6}
    assert found["c"] == 7.0


def test_the_order_in_which_strategies_are_listed_does_not_matter() -> None:
    assert as_explore({"a": Perturb(), "b": Shift()}) == as_explore({"b": Shift(), "a": Perturb()})


def test_a_strategy_for_an_unknown_hyperparameter_is_refused() -> None:
    space = Space.of({"lr": Uniform(0, 1)})
    with pytest.raises(ConfigError, match="explore: 'l' is not in the space, wanted lr"):
        as_explore({"l": Perturb()}).validate(space)
    with pytest.raises(ConfigError, match="Shift cannot move lr"):
        as_explore({"lr": [NoExplore(), Shift()]}).validate(space)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Perturb(low=1.2, high=0.8),
            r"Perturb: got low=1\.2, high=0\.8, wanted low below high",
        ),
        (lambda: Perturb(low=0.8), r"Perturb\.high: got None"),
        (lambda: Perturb(high=1.2), r"Perturb\.low: got None"),
        (lambda: Perturb(low=-1, high=1), r"Perturb\.low: got -1, wanted a finite number above 0"),
        (
            lambda: Perturb(factors=(0.8, 0)),
            r"Perturb\.factors: got 0, wanted a finite number above 0",
        ),
        (lambda: Perturb(factors=()), r"Perturb\.factors: got \(\), wanted one or more factors"),
        (lambda: Perturb(factors="ab"), r"Perturb\.factors: got 'ab'"),
        (lambda: Perturb(factors=0.8), r"Perturb\.factors: got 0\.8"),
        (
            lambda: Perturb(low=0.8, high=1.2, factors=(1, 2)),
            r"high=1\.2 and factors=\(1, 2\), wanted a range",
        ),
        (
            lambda: Perturb(0.5, 2),
            r"got 0\.5, 2, wanted Perturb\(factors=\(0\.5, 2\)\) .*Perturb\(low=0\.5, high=2\)",
        ),
        (lambda: Perturb([0.5, 2]), r"got \[0\.5, 2\], wanted Perturb\(factors=\(0\.5, 2\)\) "),
        (lambda: Perturb(0.8), r"got 0\.8, wanted Perturb\(factors=\(0\.8, 1\.2\)\) "),
        (lambda: Perturb(bounds="wrap"), r"Perturb\.bounds: got 'wrap', wanted 'clip' or"),
        (lambda: Gaussian(0), r"Gaussian\.sigma: got 0"),
        (lambda: Gaussian(1, bounds="wrap"), r"Gaussian\.bounds: got 'wrap'"),
        (lambda: Resample(0), r"Resample\.probability: got 0"),
        (lambda: Resample(choices=1), r"Resample\.choices: got 1, wanted True or False"),
        (lambda: Perturb(choices="all"), r"Perturb\.choices: got 'all'"),
        (lambda: Gaussian(1, choices=None), r"Gaussian\.choices: got None"),
        (lambda: Resample(1.1), r"Resample\.probability: got 1\.1"),
    ],
)
def test_bad_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("strategy", "text"),
    [
        (Perturb(), "Perturb(factors=(0.8, 1.2))"),
        (Perturb(low=0.5, high=2), "Perturb(low=0.5, high=2.0)"),
        (
            Perturb(factors=[2], bounds="reflect", choices=True),
            "Perturb(factors=(2.0,), bounds='reflect', choices=True)",
        ),
    ],
)
def test_perturb_says_whether_it_has_factors_or_a_range(strategy: Perturb, text: str) -> None:
    assert repr(strategy) == text
    assert eval(text) == strategy


def test_a_factor_can_multiply_the_distance_from_one() -> None:
    halved = Perturb(factors=(0.5,), scale="one_minus")
    assert moves(halved, Uniform(0.9, 0.999), 0.98) == pytest.approx([0.99] * 2000)
    assert moves(halved, Uniform(0.9, 0.999), 0.9985) == [0.999] * 2000
    assert moves(Perturb(factors=(2,)), ReverseLogUniform(0.9, 0.999), 0.99) == pytest.approx(
        [0.98] * 2000
    )


@pytest.mark.parametrize("distribution", [Uniform(0, 1), Normal(0, 1), IntUniform(-5, 0)])
def test_a_distance_from_one_is_that_of_floats_below_it(distribution: Any) -> None:
    with pytest.raises(ConfigError, match="Perturb\\(scale='one_minus'\\) cannot move x"):
        Perturb(scale="one_minus").validate(Space({"x": distribution, "act": Choice([1, 2])}))


@pytest.mark.parametrize(
    ("distribution", "start", "sd"),
    [(Uniform(2, 4), 3.0, 0.2), (Normal(0, 5), 1.0, 0.5), (Uniform(0.9, 0.95), 0.925, 0.005)],
)
def test_noise_can_be_relative_to_the_width(distribution: Any, start: float, sd: float) -> None:
    found = moves(Gaussian(0.1, relative_to="width"), distribution, start)
    assert np.std(found) == pytest.approx(sd, rel=0.2)


def test_noise_relative_to_the_width_is_on_the_scale_of_the_distribution() -> None:
    found = moves(Gaussian(0.1, relative_to="width"), LogUniform(1e-4, 1), 1e-2)
    assert np.std(np.log(found)) == pytest.approx(0.1 * np.log(1e4), rel=0.2)
    distances = 1 - np.array(
        moves(Gaussian(0.1, relative_to="width"), ReverseLogUniform(0.9, 0.9999), 0.997)
    )
    assert np.std(np.log(distances)) == pytest.approx(0.1 * np.log(1e3), rel=0.2)

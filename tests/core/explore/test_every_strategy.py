"""What every explore strategy promises, in spaces of every kind."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.core.distributions import Choice, IntUniform, Normal, Ordinal, Uniform
from evolvent.core.explore import (
    EXPLORE,
    Gaussian,
    NoExplore,
    Perturb,
    Resample,
    Shift,
    as_explore,
    explore_from_json,
    explore_to_json,
)
from evolvent.core.space import Space
from evolvent.errors import ConfigError
from tests.core.builders import integer_distributions, seeded, spaces

ALL: tuple[Any, ...] = (
    Perturb(),
    Perturb(low=0.5, high=2.0, bounds="reflect"),
    Perturb(factors=(0.1, 10.0), bounds="reflect"),
    Resample(0.5),
    Gaussian(0.7),
    Gaussian(5.0, bounds="reflect"),
    Gaussian(0.1, relative_to="width"),
    NoExplore(),
    [Resample(0.25), Perturb()],
    [Resample(0.25, choices=True), Perturb(choices=True), Gaussian(0.1, choices=True)],
)
CHOICE = Choice(["relu", "gelu", "tanh"])
MOVING = (
    Perturb(),
    Perturb(low=0.5, high=0.9),
    Gaussian(0.01),
    Gaussian(9),
    Shift(),
    Perturb(factors=(0.01, 99)),
)


@given(st.sampled_from(ALL), spaces(), st.integers(0, 2**32))
def test_explored_values_stay_in_the_space(strategy: Any, space: Space, seed: int) -> None:
    rng = seeded(seed)
    before = space.sample(rng=rng)
    after = as_explore(strategy)(before, space, rng=rng)
    assert space.check(after) == after
    assert [type(v) for v in space.check(after).values()] == [type(v) for v in after.values()]
    assert list(after) == list(space)


@given(st.sampled_from(ALL), spaces(), st.integers(0, 2**32))
def test_exploring_depends_on_its_arguments_only(strategy: Any, space: Space, seed: int) -> None:
    before = space.sample(rng=seeded(seed))
    kept = dict(before)
    once = as_explore(strategy)(before, space, rng=seeded(seed))
    assert before == kept
    assert as_explore(strategy)(before, space, rng=seeded(seed)) == once


@given(st.sampled_from(MOVING), integer_distributions(), st.data())
def test_an_integer_between_its_bounds_always_moves(
    strategy: Any, distribution: Any, data: Any
) -> None:
    if distribution.high - distribution.low < 2:
        return
    value = data.draw(st.integers(distribution.low + 1, distribution.high - 1))
    space = Space({"n": distribution})
    for seed in range(5):
        assert strategy({"n": value}, space, rng=seeded(seed))["n"] != value


@pytest.mark.parametrize("strategy", [Perturb(), Gaussian(0.1), Shift()])
@pytest.mark.parametrize("value", [1, 8])
def test_an_integer_at_a_bound_moves_inwards_or_stays(strategy: Any, value: int) -> None:
    space = Space({"n": IntUniform(1, 8)})
    found = {strategy({"n": value}, space, rng=seeded(s))["n"] for s in range(50)}
    assert found <= {1, 2, 6, 7, 8}
    assert len(found) == 2


@pytest.mark.parametrize(
    "strategy",
    [
        Perturb(bounds="reflect"),
        Gaussian(0.01, bounds="reflect"),
        Perturb(factors=(2, 3), bounds="reflect"),
    ],
)
@given(integer_distributions(), st.data())
def test_a_reflected_integer_moves_even_at_its_bounds(
    strategy: Any, distribution: Any, data: Any
) -> None:
    value = data.draw(st.integers(distribution.low, distribution.high))
    space = Space({"n": distribution})
    for seed in range(5):
        assert strategy({"n": value}, space, rng=seeded(seed))["n"] != value


@pytest.mark.parametrize(
    "strategy", [Perturb(), Perturb(low=0.5, high=2.0), Gaussian(0.1), Resample(0.5), Shift()]
)
def test_hyperparameters_move_independently(strategy: Any) -> None:
    if isinstance(strategy, Shift):
        space, start = Space({n: IntUniform(0, 100) for n in "ab"}), {"a": 50, "b": 50}
    else:
        space, start = Space({n: Uniform(0, 10) for n in "ab"}), {"a": 5.0, "b": 5.0}
    moves = [strategy(start, space, rng=seeded(s)) for s in range(200)]
    assert sum(move["a"] != move["b"] for move in moves) > 50


@pytest.mark.parametrize("strategy", [Perturb(), Gaussian(0.1), Shift()])
def test_an_ordinal_moves_one_place_either_way(strategy: Any) -> None:
    space = Space({"width": Ordinal([16, 32, 64, 128])})
    found = {strategy({"width": 32}, space, rng=seeded(s))["width"] for s in range(50)}
    assert found == {16, 64}
    ends = {strategy({"width": 128}, space, rng=seeded(s))["width"] for s in range(50)}
    assert ends == {64, 128}


FOR_ALL = (Perturb(), Perturb(low=0.5, high=0.9), Gaussian(0.1), Resample(1.0))


def found(explore: Any, space: Space) -> dict[str, set[Any]]:
    """Return what becomes of the first of all values, by name, over sixty draws."""
    start = {n: getattr(d, "values", [getattr(d, "value", 1)])[0] for n, d in space.items()}
    after = [as_explore(explore)(start, space, rng=seeded(seed)) for seed in range(60)]
    return {name: {values[name] for values in after} for name in space}


@pytest.mark.parametrize(
    "explore", [*FOR_ALL, [Resample(1.0), Perturb()], [FOR_ALL[2], {"epochs": Perturb()}]]
)
def test_what_has_no_order_stays_unless_it_is_named(explore: Any) -> None:
    likely = Choice([True, False], weights=[1, 9])
    space = Space.of({"activation": CHOICE, "nesterov": likely, "epochs": 3})
    assert found(explore, space) == {"activation": {"relu"}, "nesterov": {True}, "epochs": {3}}


@pytest.mark.parametrize("strategy", FOR_ALL)
@pytest.mark.parametrize(
    "named",
    [
        lambda s: {"net": {"act": s}},
        lambda s: {"net": {"act": [NoExplore(), s]}},
        lambda s: [Perturb(), {"net.act": s}],
        lambda s: {"net.act": [{"net.act": s}]},
    ],
    ids=["in a dict", "in a chain in a dict", "in a dict in a chain", "in both"],
)
def test_a_choice_that_is_named_is_drawn_anew_and_no_other(strategy: Any, named: Any) -> None:
    space = Space.of({"net": {"act": CHOICE, "norm": Choice([True, False])}})
    assert found(named(strategy), space) == {
        "net.act": {"relu", "gelu", "tanh"}, "net.norm": {True}
    }  # fmt: skip


@pytest.mark.parametrize(
    "strategy", [Perturb(choices=True), Gaussian(0.1, choices=True), Resample(1.0, choices=True)]
)
def test_choices_may_be_drawn_anew_all_at_once(strategy: Any) -> None:
    space = Space.of({"activation": CHOICE, "nesterov": Choice([True, False]), "epochs": 3})
    moved = {"activation": {"relu", "gelu", "tanh"}, "nesterov": {True, False}, "epochs": {3}}
    assert found(strategy, space) == moved
    assert found([NoExplore(), strategy], space) == moved
    data = explore_to_json(strategy)
    assert data["choices"] is True
    assert explore_from_json(data) == strategy


def test_what_was_stored_before_choices_could_stay_is_read() -> None:
    assert explore_from_json({"type": "Resample", "probability": 0.5}) == Resample(0.5)
    assert explore_to_json(Resample(0.5)) == {"type": "Resample", "probability": 0.5}
    plain = {"low": None, "high": None, "factors": [0.8, 1.2], "bounds": "clip"}
    assert explore_to_json(Perturb()) == {"type": "Perturb", **plain}
    assert explore_to_json(Gaussian(1.0)) == {"type": "Gaussian", "sigma": 1.0, "bounds": "clip"}
    for one in (Perturb(scale="one_minus"), Gaussian(0.1, relative_to="width")):
        assert explore_from_json(explore_to_json(one)) == one


@pytest.mark.parametrize("strategy", ALL)
def test_a_strategy_can_be_stored_sent_and_compared(strategy: Any) -> None:
    one = as_explore(strategy)
    assert explore_from_json(json.loads(json.dumps(explore_to_json(one)))) == one
    assert pickle.loads(pickle.dumps(one)) == one
    assert hash(one) == hash(as_explore(strategy))


@pytest.mark.parametrize("name", sorted(set(EXPLORE) - {"Gaussian", "CustomExplore"}))
def test_a_bare_name_is_a_strategy_with_its_defaults(name: str) -> None:
    assert explore_from_json(name) == EXPLORE[name]()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("Pertrub", "explore: got type 'Pertrub', wanted one of Perturb, Resample"),
        ("Gaussian", "explore: Gaussian lacks the field 'sigma'"),
        ({"type": "NoExplore", "p": 1}, "explore: NoExplore has no field 'p', wanted no fields"),
        ({"lr": "Nothing"}, "explore: got type 'Nothing'"),
        ({"type": "Resample", "probability": 2}, r"explore: Resample\.probability: got 2"),
        ([], r"explore: got \[\], wanted a strategy such as Perturb\(\)"),
        (3, "explore: got 3"),
    ],
)
def test_bad_json_is_refused_by_name(data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        explore_from_json(data)


@pytest.mark.parametrize(
    "given", ["Perturb", type(Perturb()), 3, None, [], {"lr": 3}, [3]], ids=str
)
def test_what_is_no_strategy_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="wanted a strategy such as Perturb"):
        as_explore(given)


def test_a_strategy_that_is_not_ours_cannot_be_stored() -> None:
    class Mine:
        def __call__(self, hyperparameters: Any, space: Any, *, rng: Any) -> Any:
            return hyperparameters

        def validate(self, space: Any) -> None:
            return None

    assert as_explore(Mine())({"a": 1}, Space.of({"a": 1}), rng=seeded(0)) == {"a": 1}
    with pytest.raises(ConfigError, match="cannot be stored, only Perturb"):
        explore_to_json(Mine())


def test_an_unbounded_number_stays_finite() -> None:
    space = Space({"x": Normal(0, 1)})
    assert Perturb(factors=(1e300, 1e300))({"x": 1e300}, space, rng=seeded(0)) == {
        "x": 1.7976931348623157e308
    }

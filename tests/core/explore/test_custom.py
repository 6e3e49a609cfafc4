from __future__ import annotations

import pickle
import random
import signal
from functools import partial, reduce
from typing import Any

import numpy as np
import pytest

import __main__
from evolvent.core.distributions import Choice, IntUniform, Uniform
from evolvent.core.explore import (
    CustomExplore,
    UnrepeatableExplore,
    explore_from_json,
    explore_to_json,
)
from evolvent.core.rng import deferred
from evolvent.core.space import Space
from evolvent.errors import ConfigError, DecisionError
from tests.core.builders import seeded
from tests.core.explore import functions

PATH = "tests.core.explore.functions"
SPACE = Space.of({"lr": Uniform(0, 1), "net": {"width": IntUniform(1, 8)}})


def explored(fn: Any, space: Space = SPACE) -> dict[str, Any]:
    values = {"lr": 0.25, "net.width": 3, "other": "kept out"}
    return CustomExplore(fn)(values, space, rng=seeded(0))


def test_the_function_gets_a_nested_dict_of_its_own() -> None:
    got: list[Any] = []
    assert explored(lambda h, rng: got.append(h) or {}) == {"lr": 0.25, "net.width": 3}
    assert got == [{"lr": 0.25, "net": {"width": 3}}]


def test_the_function_gets_only_its_part_of_the_space() -> None:
    assert explored(functions.double, SPACE.only({"lr"})) == {"lr": 0.5}


def test_what_it_returns_is_typed_and_clipped() -> None:
    assert explored(lambda h, rng: {"lr": 7, "net": {"width": 4.4}}) == {"lr": 1.0, "net.width": 4}
    assert explored(lambda h, rng: {"net.width": np.int64(6)}) == {"lr": 0.25, "net.width": 6}


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ({"lr": "high"}, "hyperparameter lr: got 'high', wanted a number from"),
        ({"lr": float("nan")}, "hyperparameter lr: got nan"),
        ({"momentum": 1}, "hyperparameter momentum: not in the space"),
        ([0.5], r"hyperparameters: got \[0.5\], wanted a dict"),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_the_function(returned: Any, message: str) -> None:
    with pytest.raises(DecisionError, match=f"(?s)CustomExplore.*returned.*{message}"):
        explored(lambda h, rng: returned)


class Lazy(dict[str, float]):
    def items(self) -> Any:
        raise KeyError("lost")


class Own(BaseException):
    pass


class Interrupting(dict[str, float]):
    def items(self) -> Any:
        raise KeyboardInterrupt


class Mute(Exception):
    def __str__(self) -> str:
        raise AttributeError("no text")


def raises(error: BaseException) -> Any:
    def fail(h: dict[str, Any], rng: np.random.Generator) -> None:
        raise error

    return fail


def nested(depth: int) -> dict[str, Any]:
    return reduce(lambda inner, _: {"lr": inner}, range(depth), {})


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda h, rng: {1: 0.5}, "returned {1: 0.5}: .*name 1"),
        (lambda h, rng: {"net": {"width": {"of": {1, 2}}}}, "returned .*got {.of.: {1, 2}}"),
        (lambda h, rng: Lazy(lr=1.0), "returned a Lazy that cannot be read: KeyError: 'lost'"),
        (lambda h, rng: nested(5000), "returned a dict that cannot be read: RecursionError"),
        (raises(Mute()), "raised Mute: it cannot be printed"),
        (raises(SystemExit(3)), "raised SystemExit: 3"),
        (raises(KeyboardInterrupt()), "raised KeyboardInterrupt: "),
        (raises(Own("mine")), "raised Own: mine"),
        (lambda h, rng: Interrupting(lr=1.0), "returned a Interrupting .*KeyboardInterrupt"),
    ],
)
def test_whatever_goes_wrong_is_one_kind_of_error_so_that_the_round_is_kept(
    function: Any, message: str
) -> None:
    with pytest.raises(DecisionError, match=f"(?s)CustomExplore.*{message}"):
        explored(function)


def raises_itself(*_: object) -> None:
    raise KeyboardInterrupt


class Handler:
    def __call__(self, *_: object) -> None:
        raises_itself()


@pytest.mark.parametrize(
    "handler", [signal.default_int_handler, raises_itself, Handler(), Handler().__call__]
)
def test_ctrl_c_in_a_function_is_ctrl_c(handler: Any) -> None:
    def interrupted(h: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        try:
            signal.raise_signal(signal.SIGINT)
            return h
        finally:
            h["lr"] = 0.5

    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            explored(interrupted)
        with pytest.raises(DecisionError, match="raised KeyboardInterrupt"):
            explored(raises(KeyboardInterrupt()))
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_set_within_a_dict_is_none_of_a_list() -> None:
    space = Space({"lr": Choice([{"layers": [1, 2]}, 0.5])})
    with pytest.raises(DecisionError, match=r"lr: got .*wanted one of"):
        explored(lambda h, rng: {"lr": {"layers": {1, 2}}}, space)


def test_a_category_outside_its_list_is_an_error() -> None:
    space = Space({"lr": Choice([0.25, 0.5])})
    with pytest.raises(DecisionError, match=r"lr: got 0\.3"):
        explored(lambda h, rng: {"lr": 0.3}, space)


def test_the_function_gets_a_true_generator() -> None:
    got: list[Any] = []
    CustomExplore(lambda h, rng: got.append(rng) or h)(
        {"lr": 0.5}, SPACE.only({"lr"}), rng=deferred(1, "decide", 0, 0)
    )
    assert isinstance(got[0], np.random.Generator)


@pytest.mark.parametrize(
    ("fn", "path"),
    [
        (functions.double, f"{PATH}:double"),
        (functions.Namespace.halve, f"{PATH}:Namespace.halve"),
        (f"{PATH}:double", f"{PATH}:double"),
    ],
)
def test_a_function_of_a_module_is_stored_by_its_path(fn: Any, path: str) -> None:
    strategy = CustomExplore(fn)
    assert explore_to_json(strategy) == {"type": "CustomExplore", "fn": path}
    assert explore_from_json(explore_to_json(strategy)) == strategy
    assert pickle.loads(pickle.dumps(strategy)) == strategy
    strategy.validate(SPACE.only({"lr"}))


class Halving:
    def __call__(self, h: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return {name: value / 2 for name, value in h.items()}

    def method(self, h: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return self(h, rng)


HERE = __name__


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (lambda h, rng: h, f"{HERE}:<lambda>"),
        (functions.make_nested(), f"{PATH}:make_nested.<locals>.nested"),
        (partial(functions.double), f"{PATH}:double(...)"),
        (Halving(), f"{HERE}:Halving(...)"),
        (Halving().method, f"{HERE}:Halving.method(...)"),
    ],
)
def test_a_function_without_a_path_works_here_and_is_stored_by_name(fn: Any, name: str) -> None:
    given = CustomExplore(fn)
    given.validate(SPACE.only({"lr"}))
    assert explored(fn, SPACE.only({"lr"}))["lr"] in {0.125, 0.25, 0.5}
    assert explore_to_json(given) == {"type": "CustomExplore", "fn": name}
    stored = explore_from_json(explore_to_json(given))
    assert (stored, hash(stored), repr(stored)) == (given, hash(given), f"CustomExplore({name!r})")
    with pytest.raises(ConfigError, match=r"made while a script runs: give it again by .*resume"):
        stored.validate(SPACE)


def test_a_function_of_a_script_travels_itself_and_is_stored_by_its_name_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mine(h: Any, rng: Any) -> Any:
        return h

    mine.__module__, mine.__qualname__ = "__main__", "mine"
    monkeypatch.setattr(__main__, "mine", mine, raising=False)
    given = CustomExplore(mine)
    assert given.fn is mine
    assert explore_to_json(given) == {"type": "CustomExplore", "fn": "__main__:mine"}
    stored = explore_from_json(explore_to_json(given))
    assert stored == given
    assert hash(stored) == hash(given)
    monkeypatch.delattr(__main__, "mine")
    with pytest.raises(ConfigError, match=r"cannot import '__main__:mine'.*give it again by"):
        stored.validate(SPACE)


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        ("double", "CustomExplore.fn: got 'double', wanted a path 'module:function'"),
        (":double", "wanted a path"),
        (3, "CustomExplore.fn: got 3, wanted a function or its import path"),
    ],
)
def test_what_is_neither_function_nor_path_is_refused(fn: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CustomExplore(fn)


@pytest.mark.parametrize("path", ["no.such.module:f", f"{PATH}:nothing", f"{PATH}:NOT_A_FUNCTION"])
def test_a_path_is_read_without_importing_and_checked_before_work_starts(path: str) -> None:
    strategy = explore_from_json({"type": "CustomExplore", "fn": path})
    with pytest.raises(ConfigError, match=r"CustomExplore\.fn"):
        strategy.validate(SPACE)


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        ({"lr": np.float32(0.5)}, {"lr": 0.5, "net.width": 3}),
        ({"lr": np.array(0.5)}, {"lr": 0.5, "net.width": 3}),
        ({"net": {"width": np.array(6)}}, {"lr": 0.25, "net.width": 6}),
        ({"net.width": np.float64(6.5)}, {"lr": 0.25, "net.width": 6}),
    ],
)
def test_values_of_numpy_are_taken_as_plain_ones(
    returned: dict[str, Any], found: dict[str, Any]
) -> None:
    new = explored(lambda h, rng: returned)
    assert new == found
    assert [type(value) for value in new.values()] == [float, int]


def test_the_dict_that_was_handed_in_may_be_changed_instead() -> None:
    def change(h: dict[str, Any], rng: np.random.Generator) -> None:
        h["net"]["width"] = 5
        del h["lr"]

    CustomExplore(change).validate(SPACE)
    assert explored(change) == {"lr": 0.25, "net.width": 5}


def sometimes(h: dict[str, Any], rng: np.random.Generator) -> None:
    if rng.random() < 0.5:
        h["lr"] = 0.5


def test_one_that_changes_the_dict_only_now_and_then_is_fine() -> None:
    CustomExplore(sometimes).validate(SPACE)


def slips(h: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {"lr": h["learning_rate"]}


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (slips, "(?s)tried on .*lr.*slips.*raised KeyError: 'learning_rate'.*in slips"),
        (lambda h, rng: {**h, "wd": 0.1}, "hyperparameter wd: not in the space, wanted lr"),
        (lambda h, rng: {"lr": float("nan")}, "lr: got nan"),
        (lambda h, rng: None, "returned None and left the hyperparameters as they were"),
        (lambda h: h, r"takes \(h\): too many positional arguments; .*\(hyperparameters, rng\)"),
        (lambda h, rng, scale: h, "takes .*missing a required argument: 'scale'"),
        (lambda h, rng: h if rng.random() < 0.7 else {}["x"], "raised KeyError: 'x'"),
    ],
)
def test_a_function_is_tried_before_work_starts(fn: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CustomExplore(fn).validate(SPACE)


def with_python(h: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {"lr": random.random()}


def with_numpy(h: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {"lr": np.random.uniform()}  # noqa: NPY002 - what is warned of


def count(h: dict[str, Any], rng: np.random.Generator, made: list[int] = []) -> dict[str, Any]:  # noqa: B006 - what is warned of
    made.append(1)
    return {"lr": 1 / len(made)}


@pytest.mark.parametrize("fn", [with_python, with_numpy, count])
def test_a_function_that_draws_from_elsewhere_is_warned_of(fn: Any) -> None:
    with pytest.warns(UnrepeatableExplore, match="two results for the same hyperparameters"):
        CustomExplore(fn).validate(SPACE)


def test_a_failure_later_shows_where() -> None:
    with pytest.raises(DecisionError) as caught:
        explored(slips)
    first, *lines = str(caught.value).splitlines()
    assert first == f"CustomExplore('{HERE}:slips') raised KeyError: 'learning_rate'"
    assert any("in slips" in line for line in lines)
    assert not any("custom.py" in line for line in lines if "test_custom.py" not in line)

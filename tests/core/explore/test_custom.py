from __future__ import annotations

import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest

import __main__
from evolvent.core.distributions import Choice, IntUniform, Uniform
from evolvent.core.explore import CustomExplore, explore_from_json, explore_to_json
from evolvent.core.rng import deferred
from evolvent.core.space import Space
from evolvent.errors import ConfigError, OutOfSpace
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
        (None, "hyperparameters: got None, wanted a dict"),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_the_function(returned: Any, message: str) -> None:
    with pytest.raises(OutOfSpace, match=f"(?s)CustomExplore.*returned.*{message}"):
        explored(lambda h, rng: returned)


def test_a_category_outside_its_list_is_an_error() -> None:
    space = Space({"lr": Choice([0.25, 0.5])})
    with pytest.raises(OutOfSpace, match=r"lr: got 0\.3"):
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
    strategy.validate(SPACE)


@pytest.mark.parametrize(
    "fn", [lambda h, rng: h, functions.make_nested(), partial(functions.double)]
)
def test_a_function_without_a_path_works_here_but_cannot_be_stored(fn: Any) -> None:
    CustomExplore(fn).validate(SPACE)
    assert explored(fn, SPACE.only({"lr"}))["lr"] in {0.25, 0.5}
    with pytest.raises(ConfigError, match="define it with `def` at the top of a module"):
        explore_to_json(CustomExplore(fn))


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
    with pytest.raises(ConfigError, match=r"cannot import '__main__:mine'.*move it to a module"):
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

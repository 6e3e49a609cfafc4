from __future__ import annotations

import json
import pickle
import tomllib
import warnings
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.core.distributions import (
    Choice,
    Constant,
    IntUniform,
    LogUniform,
    Normal,
    Ordinal,
    Uniform,
)
from evolvent.core.space import LooksLikeRange, Space
from evolvent.errors import ConfigError, OutOfSpace
from tests.core.builders import seeded, spaces

NESTED = {
    "optimizer": {"lr": LogUniform(1e-5, 1.0), "momentum": Uniform(0.1, 0.999)},
    "layers": IntUniform(1, 4),
    "activation": Choice(["relu", "gelu"]),
    "epochs": 3,
}


@given(spaces())
def test_a_space_survives_json_and_pickle_exactly(space: Space) -> None:
    there = Space.from_json(json.loads(json.dumps(space.to_json())))
    assert there == space
    assert hash(there) == hash(space)
    assert repr(there) == repr(space)
    assert pickle.loads(pickle.dumps(space)) == space


@given(spaces(), st.integers(0, 2**32))
def test_what_a_space_draws_it_accepts_flat_and_nested(space: Space, seed: int) -> None:
    values = space.sample(rng=seeded(seed))
    assert space.check(values) == space.check(space.nest(values)) == values
    assert space.clip(values) == values
    assert space.flatten(space.nest(values)) == values


def test_nested_names_become_flat_in_their_order() -> None:
    space = Space.of(NESTED)
    assert list(space) == [
        "optimizer.lr",
        "optimizer.momentum",
        "layers",
        "activation",
        "epochs",
    ]
    assert space["epochs"] == Constant(3)
    assert len(space) == 5
    assert "optimizer.lr" in space
    assert Space.of(space) is space


def test_values_get_the_types_of_their_distributions() -> None:
    space = Space.of({"lr": Uniform(0, 2), "n": IntUniform(1, 8), "width": Ordinal([16, 32])})
    checked = space.check({"width": 16.0, "n": 2.0, "lr": 1})
    assert repr(checked) == "{'lr': 1.0, 'n': 2, 'width': 16}"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": 3.0}, r"hyperparameter lr: got 3\.0, wanted a number from 0\.0 to 1\.0"),
        ({"lr": True}, r"hyperparameter lr: got True"),
        ({"lr": 0.5, "l": 1}, "hyperparameter l: not in the space, wanted lr, net\\.width"),
        ({"lr": 0.5}, r"hyperparameter net\.width: missing, wanted an integer from 1 to 8"),
        ({"net": {"width": 9}, "lr": 0}, r"hyperparameter net\.width: got 9"),
        ({"net": {"width": 2}, "net.width": 3, "lr": 0}, r"net\.width: given twice"),
        (3, "hyperparameters: got 3, wanted a dict"),
        ({1: 2}, "got the name 1"),
    ],
)
def test_values_outside_are_refused_by_name(values: Any, message: str) -> None:
    space = Space.of({"lr": Uniform(0, 1), "net": {"width": IntUniform(1, 8)}})
    with pytest.raises(ConfigError, match=message):
        space.check(values)


def test_some_values_may_be_missing_when_asked() -> None:
    assert Space.of(NESTED).check({"layers": 2}, partial=True) == {"layers": 2}


def test_clipping_moves_numbers_but_not_categories() -> None:
    space = Space.of(NESTED)
    assert space.clip({"layers": 7.2, "optimizer": {"lr": 5}}) == {
        "optimizer.lr": 1.0,
        "layers": 4,
    }
    with pytest.raises(OutOfSpace, match="activation: got 'tanh', wanted one of 'relu', 'gelu'"):
        space.clip({"activation": "tanh"})


@pytest.mark.parametrize(
    ("nested", "message"),
    [
        ({}, "space: got no hyperparameter"),
        ({"a": {}}, "space: got no hyperparameter"),
        ([1], r"space: got \[1\], wanted a dict"),
        ({"lr": [0.1, 0.2]}, r"space: lr: got \[0\.1, 0\.2\], wanted a distribution"),
        ({"lr": Uniform}, "space: lr: got <class"),
        ({"": Uniform(0, 1)}, "got the name ''"),
        ({" ": Uniform(0, 1)}, "got the name ' '"),
        ({"a.b": Uniform(0, 1)}, "got the name 'a.b', wanted a string"),
        ({1: Uniform(0, 1)}, "got the name 1"),
    ],
)
def test_bad_spaces_are_refused(nested: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Space.of(nested)


def test_a_name_is_a_hyperparameter_or_a_group() -> None:
    with pytest.raises(ConfigError, match=r"a is a hyperparameter and a group with a\.b"):
        Space({"a": Constant(1), "a.b": Constant(2)})
    with pytest.raises(ConfigError, match="got the name 1"):
        Space({1: Constant(1)})  # type: ignore[dict-item]  # what a user may do


def test_a_space_may_be_written_plainly_as_in_toml() -> None:
    plain = {
        "optimizer": {"lr": {"type": "LogUniform", "low": 1e-5, "high": 1}, "name": "sgd"},
        "width": {"type": "Ordinal", "values": [16, 32]},
        "epochs": 3,
    }
    assert Space.from_json(plain) == Space.of(
        {
            "optimizer": {"lr": LogUniform(1e-5, 1), "name": "sgd"},
            "width": Ordinal([16, 32]),
            "epochs": 3,
        }
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"lr": {"type": "Loguniform"}}, "space: lr: got type 'Loguniform', wanted one of Uniform"),
        ({"lr": {"type": "Uniform", "low": 0}}, "space: lr: Uniform lacks the field 'high'"),
        (
            {"lr": {"type": "Uniform", "low": 0, "hi": 1}},
            "space: lr: Uniform has no field 'hi', wanted low, high",
        ),
        ({"lr": {"type": "Uniform", "low": 1, "high": 0}}, "space: lr: Uniform: got low"),
        ([], r"space: got \[\]"),
    ],
)
def test_bad_json_is_refused_by_name(data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Space.from_json(data)


def test_a_part_of_a_space_keeps_its_order() -> None:
    part = Space.of(NESTED).only({"epochs", "layers", "nothing"})
    assert list(part) == ["layers", "epochs"]


def test_spaces_differ_when_their_order_does() -> None:
    a, b = Uniform(0, 1), Uniform(0, 2)
    assert Space({"a": a, "b": b}) != Space({"b": b, "a": a})
    assert Space({"a": a}) != {"a": a}


def test_hyperparameters_are_drawn_independently() -> None:
    space = Space.of({"a": Uniform(0, 1), "b": Uniform(0, 1)})
    drawn = space.sample(rng=seeded(1))
    assert drawn["a"] != drawn["b"]


LISTS = {
    "betas": (0.9, 0.999),
    "hidden": Choice([(64, 64), (400, 300)]),
    "net": {"act": Choice([["relu"], ["tanh", {"gain": 2}]]), "drop": {}},
    "optimizer": Choice([{"name": "sgd", "lr": 0.1}, {"name": "adam"}]),
}


def test_nested_values_are_lists_in_the_log_and_as_given_in_training() -> None:
    space = Space.of(LISTS)
    flat = {
        "betas": [0.9, 0.999], "hidden": [400, 300], "net.act": ["tanh", {"gain": 2}],
        "net.drop": {}, "optimizer": {"name": "adam"},
    }  # fmt: skip
    nested = space.given(flat)
    assert nested == {
        "betas": (0.9, 0.999), "hidden": (400, 300),
        "net": {"act": ["tanh", {"gain": 2}], "drop": {}}, "optimizer": {"name": "adam"},
    }  # fmt: skip
    assert space.check(nested) == space.clip(flat) == flat
    nested["net"]["act"].append("changed")
    assert space.given(flat)["net"]["act"] == ["tanh", {"gain": 2}]


def test_a_space_of_nested_values_comes_back_from_json_with_its_tuples() -> None:
    space = Space.of(LISTS)
    back = Space.from_json(json.loads(json.dumps(space.to_json())))
    assert back == space
    assert repr(back) == repr(space)


TAGS = st.sampled_from(["$tuple", "$$tuple", "$value", "type", "value", "values", "initial"])
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TAGS | st.sampled_from(["Constant", "NaN"]),
    lambda x: (
        st.lists(x, max_size=3)
        | st.lists(x, max_size=3).map(tuple)
        | st.dictionaries(TAGS, x, max_size=3)
    ),
    max_leaves=6,
)


@given(ANY_JSON)
def test_no_value_of_the_user_means_something_to_us(value: Any) -> None:
    space = Space(
        {"type": Constant(value), "x": Choice([value, "another"], initial=value)}
        | {name: Ordinal([value, "another"]) for name in ("$tuple", "values")}
    )
    back = Space.from_json(json.loads(json.dumps(space.to_json())))
    assert back == space
    assert repr(back) == repr(space)
    values = dict.fromkeys(space, value)
    assert repr(back.nest(back.given(back.check(values)))) == repr(space.nest(values))


def test_a_value_that_looks_like_a_distribution_is_a_start_as_well() -> None:
    cosine = {"type": "Constant", "value": 1}
    space = Space({"schedule": Choice([cosine, {"type": "Cosine"}], initial=cosine)})
    back = Space.from_json(json.loads(json.dumps(space.to_json())))
    assert back == space
    assert back.sample_initial(rng=seeded(1)) == {"schedule": cosine}


def test_scalars_of_numpy_are_constants() -> None:
    space = Space.of({"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True)})
    assert space == Space.of({"a": 0.5, "b": 3, "c": True})


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ([30, 60], r"ev\.Constant\(values\) is the list"),
        (np.array([16, 32]), r"ev\.Choice\(values\)"),
        (lambda: 0.1, "computed in the training code"),
        (dict, r"ev\.Choice\(\['sgd', 'adam'\]\)"),
        (Uniform, r"such as ev\.Uniform\("),
        (Enum("Size", "SMALL").SMALL, r"its value, Size\.SMALL\.value"),
        (Enum("Size", "SMALL"), r"ev\.Choice\(\[member\.value for member in Size\]\)"),
        (Path("data"), r"its text, str\(path\)"),
        (object(), "or a single value"),
    ],
)
def test_what_is_no_value_is_told_what_to_write(value: Any, remedy: str) -> None:
    with pytest.raises(ConfigError, match=f"space: x: got .*{remedy}"):
        Space.of({"x": value})


def test_names_that_are_members_of_an_enumeration_are_plain_text() -> None:
    name = Enum("Name", {"GROUP": "group", "LR": "lr"}, type=str)
    space = Space.of({name.GROUP: {name.LR: Uniform(0, 1)}, name.LR: 1})
    assert repr([*space]) == "['group.lr', 'lr']"
    assert repr([*space.check({name.GROUP: {name.LR: 0}, name.LR: 1})]) == "['group.lr', 'lr']"
    assert repr([*Space({name.LR: Constant(1)})]) == "['lr']"


def test_a_tuple_that_looks_like_a_range_is_named() -> None:
    with pytest.warns(LooksLikeRange, match=r"lr: the tuple \(0.0001, 0.1\) is one value"):
        Space.of({"lr": (1e-4, 1e-1)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Space.of({"betas": (0.9, 0.999), "lr": Constant((1e-4, 1e-1)), "size": (224, 224)})


@pytest.mark.parametrize(
    ("distribution", "kind"),
    [
        (LogUniform(1e-4, 1e-1), "Uniform"),
        (Uniform(0, 1, initial=Uniform(0.1, 0.2)), "Uniform"),
        (Normal(0, 1), "Normal"),
        (Choice(["a", "b"]), "Choice"),
        (Ordinal([1, 2]), "Ordinal"),
    ],
)
def test_a_distribution_that_asdict_took_apart_is_refused(distribution: Any, kind: str) -> None:
    taken_apart = asdict(distribution)
    cure = rf"such as ev\.{kind}: keep it by {{f\.name: getattr\(config, f\.name\)"
    for read in (Space.of, Space.from_json):
        with pytest.raises(ConfigError, match=f"space: net.x: got .*{cure}"):
            read({"net": {"x": taken_apart}})
    assert Space.of({"x": Constant(taken_apart)})["x"] == Constant(taken_apart)


@pytest.mark.parametrize("group", [{"low": 1e-4, "high": 1}, {"low": 0, "high": 1, "initial": 0.5}])
def test_a_group_that_looks_like_a_range_is_named(group: Any) -> None:
    for read in (Space.of, Space.from_json):
        with pytest.warns(LooksLikeRange, match=r"lr: the dict .* is a group of constants"):
            assert [*read({"lr": group})] == [f"lr.{name}" for name in group]


@pytest.mark.parametrize(
    "group",
    [
        {"low": 1, "high": 0},
        {"low": Uniform(0, 1), "high": 2},
        {"low": 0, "high": 1, "step": 0.1},
        {"mean": 0.5, "sd": 0.2},
        {"mean": 0.5, "sd": Uniform(0, 1), "initial": None},
        {"values": ("a", "b")},
        {"value": 3},
    ],
    ids=repr,
)
def test_a_group_of_the_users_own_is_one(group: Any) -> None:
    assert len(Space.of({"x": group})) == len(group)  # warnings are errors here


def test_a_space_with_initial_distributions_is_stored_and_may_be_written_by_hand() -> None:
    space = Space.of(
        {
            "lr": LogUniform(1e-5, 1.0, initial=LogUniform(1e-4, 1e-2)),
            "act": Choice([[1, 2], "a"], initial=[1, 2]),
            "depth": IntUniform(1, 9, initial=3),
        }
    )
    assert Space.from_json(json.loads(json.dumps(space.to_json()))) == space
    inner = '{type = "Uniform", low = 0.2, high = 0.3}'
    text = f'lr = {{type = "Uniform", low = 0, high = 1, initial = {inner}}}'
    read = Space.from_json(tomllib.loads(text))
    assert read == Space.of({"lr": Uniform(0, 1, initial=Uniform(0.2, 0.3))})
    with pytest.raises(ConfigError, match=r"space: lr\.initial: Uniform lacks the field 'high'"):
        Space.from_json(tomllib.loads(text.replace(", high = 0.3", "")))
    assert "initial" not in Space.of({"lr": Uniform(0, 1)}).to_json()["lr"]

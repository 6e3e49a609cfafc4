from __future__ import annotations

import warnings
from typing import Any

import pytest

import evolvent as ev
from evolvent.core.algorithms import PBT
from evolvent.core.distributions import Choice, Ordinal, Uniform
from evolvent.core.explore import NoExplore, NothingExplored, Perturb, Resample
from evolvent.core.space import Space

KIND, FLAG = Choice(["sgd", "adam"]), Choice([True, False])


def warned(explore: Any, **space: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        PBT(explore=explore).validate(Space.of(space), 4)
    assert {w.category for w in seen} <= {NothingExplored}
    return [str(w.message) for w in seen]


@pytest.mark.parametrize("explore", [Perturb(), [Resample(), Perturb()]])
def test_nothing_but_choices_that_nobody_named_is_warned_of(explore: Any) -> None:
    assert len(warned(explore, kind=KIND, layers=2)) == 1


@pytest.mark.parametrize(
    ("explore", "more"),
    [
        (Perturb(), {"lr": Uniform(1, 2)}),
        (Perturb(), {"width": Ordinal([16, 32])}),
        ({"kind": Resample()}, {}),
        ([Perturb(), {"kind": Resample()}], {}),
        (Resample(choices=True), {}),
        (NoExplore(), {}),
        ({}, {}),
    ],
    ids=str,
)
def test_a_space_of_which_something_moves_is_not_warned_of(explore: Any, more: Any) -> None:
    assert warned(explore, kind=KIND, **more) == []


def test_a_space_without_anything_to_explore_is_not_warned_of() -> None:
    assert warned(Perturb(), layers=2, kind=Choice(["sgd"])) == []


def test_the_warning_names_the_choices_and_the_cure() -> None:
    assert warned(Perturb(), kind=KIND) == [
        "nothing is explored: kind is a Choice and stays with the weights. To have one drawn anew "
        'now and then, name it: explore={"kind": Resample(0.25)}, or all of them: '
        "Resample(0.25, choices=True); if its values have an order, make it an Ordinal"
    ]
    assert warned(Perturb(), a=KIND, b=FLAG, c=FLAG, d=KIND)[0].startswith(
        "nothing is explored: a, b, c, … are choices and stay with the weights."
    )


def test_the_warning_is_at_the_line_that_made_the_study() -> None:
    with pytest.warns(ev.NothingExplored) as seen:
        ev.create_study(
            "kinds", metric="q", mode="max", population=4, rounds=2, space={"kind": KIND},
            store="memory://",
        )  # fmt: skip
    assert [w.filename for w in seen] == [__file__]

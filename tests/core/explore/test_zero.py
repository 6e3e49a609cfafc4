from __future__ import annotations

import warnings
from typing import Any

import pytest

import evolvent as ev
from evolvent.core.algorithms import PBT
from evolvent.core.distributions import IntUniform, LogUniform, Normal, Uniform
from evolvent.core.explore import Gaussian, NoExplore, Perturb, Resample, ZeroTrap
from evolvent.core.space import Space


def warns(explore: Any, distribution: Any) -> bool:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        PBT(explore=explore).validate(Space({"x": distribution}), 4)
    return [w.category for w in seen] == [ZeroTrap]


@pytest.mark.parametrize("distribution", [Uniform(0, 1), Uniform(-1, 1), Normal(0, 1)])
@pytest.mark.parametrize(
    "explore", [Perturb(), {"x": Perturb(low=0.5, high=2)}, [Perturb(), NoExplore()]]
)
def test_zero_that_is_only_multiplied_is_warned_of(explore: Any, distribution: Any) -> None:
    assert warns(explore, distribution)


@pytest.mark.parametrize("distribution", [LogUniform(0.1, 1), Uniform(0.1, 1), IntUniform(0, 9)])
def test_what_cannot_get_stuck_is_not_warned_of(distribution: Any) -> None:
    assert not warns(Perturb(), distribution)


@pytest.mark.parametrize(
    "explore",
    [Gaussian(0.1), [Resample(), Perturb()], NoExplore(), {"x": [Perturb(), Gaussian(1)]}],
)
def test_strategies_that_leave_zero_are_not_warned_of(explore: Any) -> None:
    assert not warns(explore, Uniform(0, 1))


def test_what_is_not_explored_is_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        space = Space({"x": Uniform(0, 1), "y": Uniform(1, 2)})
        PBT(explore={"y": Perturb()}).validate(space, 4)


def test_the_warning_names_the_hyperparameter_and_the_way_out() -> None:
    with pytest.warns(
        ZeroTrap, match=r"x: 0 is in the space .* \[Resample\(0\.25\), Perturb\(\)\]"
    ):
        PBT(explore=Perturb()).validate(Space({"x": Uniform(0, 1)}), 4)


def test_the_default_draws_anew_and_is_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PBT().validate(Space({"x": Uniform(0, 1)}), 4)
        PBT().for_rounds(1000).validate(Space({"x": Uniform(0, 1)}), 4)


def test_the_warning_is_at_the_line_that_made_the_study() -> None:
    with pytest.warns(ZeroTrap) as seen:
        ev.create_study(
            "zero",
            metric="q",
            mode="max",
            population=4,
            rounds=2,
            algorithm=ev.PBT(explore=ev.Perturb()),
            space={"x": ev.Uniform(0, 1)},
            store="memory://",
        )
    assert [w.filename for w in seen] == [__file__]

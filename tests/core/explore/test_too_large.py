from __future__ import annotations

import warnings
from typing import Any

import pytest

import evolvent as ev
from evolvent.core.algorithms import PBT
from evolvent.core.explore import Gaussian, Perturb, Resample, StepsTooLarge
from evolvent.core.space import Space


def warns(explore: Any, distribution: Any) -> bool:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        PBT(explore=explore).validate(Space({"x": distribution, "y": ev.Uniform(0.1, 1)}), 4)
    return [w.category for w in seen] == [StepsTooLarge]


@pytest.mark.parametrize(
    ("explore", "distribution"),
    [
        (Perturb(), ev.Uniform(0.9, 0.999)),
        ([Perturb(), Resample()], ev.Uniform(0.9, 0.999)),
        ({"x": Perturb(low=2, high=3)}, ev.Uniform(1, 2)),
        (Perturb(), ev.LogUniform(1e-3, 1.1e-3)),
        (Perturb(), ev.IntUniform(100, 110)),
        ({"x": Perturb(factors=(1e-3, 1e3))}, ev.ReverseLogUniform(0.9, 0.999)),
        ({"x": Perturb(scale="one_minus")}, ev.Uniform(0.5, 0.55)),
        ({"x": Gaussian(0.1)}, ev.Uniform(0.9, 0.999)),
    ],
)
def test_steps_that_lead_out_from_nearly_everywhere_are_warned_of(
    explore: Any, distribution: Any
) -> None:
    assert warns(explore, distribution)


@pytest.mark.parametrize(
    ("explore", "distribution"),
    [
        (None, ev.Uniform(0.9, 0.999)),
        (Perturb(), ev.Uniform(0.1, 0.999)),
        (Perturb(), ev.Uniform(1, 2)),
        (Perturb(), ev.ReverseLogUniform(0.9, 0.999)),
        ({"x": Perturb(scale="one_minus")}, ev.Uniform(0.9, 0.999)),
        (Perturb(bounds="reflect"), ev.Uniform(0.9, 0.999)),
        (Perturb(), ev.IntUniform(1, 3)),
        (Perturb(), ev.Normal(0.95, 0.01)),
        ({"x": Gaussian(0.1, relative_to="width")}, ev.Uniform(0.9, 0.999)),
        ({"y": Perturb()}, ev.Uniform(0.9, 0.999)),
    ],
)
def test_steps_that_fit_are_not_warned_of(explore: Any, distribution: Any) -> None:
    if explore is None:
        explore = PBT().for_rounds(20, Space({"x": distribution})).explore
    assert not warns(explore, distribution)

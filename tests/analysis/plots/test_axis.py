"""Hyperparameters near one, on axes by their distance from it."""

from __future__ import annotations

import numpy as np
import pytest

import evolvent as ev
from tests.analysis.plots.builders import simulated
from tests.needs import needs

needs("altair")

from evolvent.analysis.plots.axis import (  # noqa: E402 - after what skips
    Axis,
    distances_from_one,
)

SPACE = {"gamma": ev.ReverseLogUniform(0.9, 0.9999), "lr": ev.LogUniform(1e-4, 1.0)}


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1e-4, 0.1, [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1]),
        (1e-8, 0.1, [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1]),
        (0.02, 0.03, []),
    ],
)
def test_ticks_are_nines_and_halves_between_where_there_is_room(low, high, ticks) -> None:
    assert distances_from_one(low, high) == ticks


def test_equal_ratios_of_the_distance_lie_equally_far_apart() -> None:
    log = simulated(space=SPACE)
    axis = Axis.of_hyperparameter(log, "gamma")
    nines = Axis("gamma", axis.scale, np.array([0.9, 0.99, 0.999, np.nan]))
    assert nines.scaled[:3] == pytest.approx([1, 2, 3])
    assert nines.unscaled(nines.scaled)[:3] == pytest.approx([0.9, 0.99, 0.999])
    assert nines.ends(np.arange(4)) == pytest.approx([0.001, 0.1])
    assert nines.cells(np.arange(3)) == pytest.approx([0.1, 0.01, 0.001])
    assert nines.tooltip("x").to_dict()["title"] == "1 - gamma"


def test_a_value_of_one_is_drawn_on_a_plain_axis() -> None:
    log = simulated(space={"gamma": ev.ReverseLogUniform(0.9, 0.9999)})
    log.hyperparameters["gamma"][3] = 1.0  # pushed from outside
    assert Axis.of_hyperparameter(log, "gamma").scale == "linear"

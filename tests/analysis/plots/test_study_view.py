"""What figures ask of a log."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import evolvent as ev
from evolvent.analysis.lineage.family_tree import newest_rows
from evolvent.errors import ConfigError
from tests.analysis.plots.builders import simulated
from tests.needs import needs

needs("altair")

from evolvent.analysis.plots.axis import Axis  # noqa: E402 - after what skips
from evolvent.analysis.plots.study_view import StudyView, legs  # noqa: E402


def test_best_of_equals_has_the_lowest_round_then_the_lowest_member():
    log = replace(simulated(3, 2, copying=0), score=np.array([0.1, 0.7, 0.7, 0.7, 0.7, 0.2]))
    assert log.best_row() == 1


def test_copied_is_what_started_from_another_member():
    log = replace(simulated(2, 2, copying=0), parent=np.array([-1, -1, 1, 1]))
    assert log.copied().tolist() == [False, False, True, False]


def test_newest_is_the_last_finished_job_of_every_member():
    log = simulated(2, 2)
    rows = log.rows.copy()
    rows[1, 1] = -1
    assert newest_rows(replace(log, rows=rows).rows).tolist() == [2, 1]


def test_only_what_varies_is_shown_and_one_where_nothing_does():
    varied = simulated(space={"lr": ev.Uniform(0, 1), "fixed": 1.0, "act": "relu"})
    assert [axis.name for axis in StudyView.of(varied).axes()] == ["lr"]
    still = simulated(space={"fixed": 1.0, "act": "relu"})
    assert [axis.name for axis in StudyView.of(still).axes()] == ["fixed"]


def test_axis_of_numbers_in_a_list_has_a_place_for_each():
    log = simulated(space={"batch": ev.Choice([16, 32.5, 64])})
    axis = Axis.of_hyperparameter(log, "batch")
    assert axis.categories == ("16", "32.5", "64")
    values = [str(value).removesuffix(".0") for value in log.hyperparameters["batch"].tolist()]
    assert axis.cells(np.arange(len(log))) == values


def test_true_and_one_have_places_of_their_own():
    log = simulated(space={"x": ev.Choice([1, True, "1"])})
    axis = Axis.of_hyperparameter(log, "x")
    kinds = {(type(v), p) for v, p in zip(log.hyperparameters["x"], axis.places, strict=True)}
    assert len(kinds) == len({p for _, p in kinds})


def test_last_part_of_a_name_must_tell_which():
    log = simulated(space={"a": {"lr": ev.Uniform(0, 1)}, "b": {"lr": ev.Uniform(0, 1)}})
    with pytest.raises(ConfigError, match=r"has no 'lr'; it has a\.lr, b\.lr"):
        StudyView.of(log).axes(["lr"])


def test_a_copy_that_leads_back_in_rounds_begins_another_leg() -> None:
    rounds = np.array([0, 1, 2, 10, 4, 5, 5, 6], np.int64)
    assert legs(rounds).tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert legs(rounds[:1]).tolist() == [0]


def test_best_by_a_mean_is_shown_with_the_mean() -> None:
    log = simulated(2, 3, copying=0)
    record = replace(log.status.record, best="mean of 2")
    log = replace(
        log,
        status=replace(log.status, record=record),
        score=np.array([0.1, 0.9, 0.5, 0.0, 0.25, 0.0]),
    )
    view = StudyView.of(log)
    assert [log.id(row) for row in view.line] == ["m1r0", "m1r1"]
    assert view.best_value == "accuracy 0 (mean of the last 2: 0.45)"

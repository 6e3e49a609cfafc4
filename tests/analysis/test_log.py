"""The log as columns."""

from __future__ import annotations

import gc
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import evolvent as ev
from evolvent.analysis.columns import NumberColumns, ValueColumns, pages
from evolvent.analysis.log import Log
from evolvent.core.algorithms import PBT
from evolvent.core.exploit import BinaryTournament
from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.core.space import Space
from evolvent.store.records import Report
from tests.contract.crew import INVALID, LONG, Crew
from tests.contract.reading import COPY_BEST


def crew(**changes: Any) -> Crew:
    return Crew(ev.open_store("memory://"), **changes)


def read(crew: Crew) -> Log:
    return Log.read(crew.store, crew.id)


def bred() -> Crew:
    """Member 1 copies member 0 after its first round, and fails in its second."""
    made = crew(population=2, rounds=9, algorithm=COPY_BEST)
    made.train(0.5, member=0)
    made.train(0.25, member=1)
    made.train(0.75, member=0)
    made.fail(made.claim_of(1), INVALID)
    return made


def job(member: int, round_: int, **fields: Any) -> JobRecord:
    values: dict[str, Any] = {"state": JobState.DONE, "hyperparameters": {}, "score": 1.0}
    return JobRecord(member, round_, **{**values, **fields})


def test_finished_jobs_are_rows_in_the_order_of_their_reports():
    log = read(bred())
    assert [log.id(row) for row in range(len(log))] == ["m0r0", "m1r0", "m0r1", "m1r1"]
    assert log.failed.tolist() == [False, False, False, True]
    assert log.score[:3].tolist() == [0.5, 0.25, 0.75]
    assert math.isnan(log.score[3])
    assert log.parent.tolist() == [-1, -1, 0, 2]
    assert log.attempt.tolist() == [1, 1, 1, 1]
    assert log.rows[:2, :2].tolist() == [[0, 2], [1, 3]]
    assert log.hyperparameters["lr"][3] == log.hyperparameters["lr"][0]
    assert (log.finished_at >= log.started_at).all()
    assert [log.id(row) for row in log.lineage(3)] == ["m0r0", "m0r1", "m1r1"]


def test_a_long_log_is_read_page_by_page(monkeypatch: pytest.MonkeyPatch):
    made = bred()
    whole = read(made)
    monkeypatch.setattr("evolvent.analysis.columns._PAGE", 3)
    assert [len(page[0]) for page in pages(made.store, made.id, ("member",))] == [3, 1]
    log = read(made)
    assert log.rows.tolist() == whole.rows.tolist()
    assert log.hyperparameters["lr"].tolist() == whole.hyperparameters["lr"].tolist()
    assert log.metrics["accuracy"][:3].tolist() == [0.5, 0.25, 0.75]


def test_a_log_is_the_same_read_or_made_of_records():
    made = bred()
    finished = made.store.jobs(made.id, states=(JobState.DONE, JobState.FAILED))
    read_, of = read(made), Log.of(made.status(), finished)
    for name in ("member", "round", "parent", "failed", "attempt", "rows", "finished_at"):
        assert np.array_equal(getattr(read_, name), getattr(of, name)), name
        assert getattr(read_, name).dtype == getattr(of, name).dtype, name
    assert np.array_equal(read_.score, of.score, equal_nan=True)
    assert np.array_equal(read_.hyperparameters["lr"], of.hyperparameters["lr"])
    assert np.array_equal(read_.reported["accuracy"], of.reported["accuracy"])


def test_a_log_without_jobs_has_the_columns_of_the_space():
    log = read(crew())
    assert len(log) == 0
    assert log.rows.shape == (0, 0)
    assert list(log.hyperparameters) == ["lr", "momentum"]
    assert [column.shape for column in log.hyperparameters.values()] == [(0,), (0,)]
    assert log.metrics == {}


def test_hyperparameters_have_the_type_of_their_values():
    space = Space.of(
        {
            "whole": ev.IntUniform(1, 9),
            "real": ev.Uniform(0.0, 1.0),
            "word": ev.Choice(["a", "b"]),
            "flag": ev.Choice([True, False]),
            "mixed": ev.Choice([1, "x", None, 2.5]),
            "huge": 2**70,
        }
    )
    made = crew(space=space, population=12)
    for _ in range(12):
        made.train(0.5)
    log = read(made)
    assert {name: column.dtype.name for name, column in log.hyperparameters.items()} == {
        "whole": "int64",
        "real": "float64",
        "word": "object",
        "flag": "object",
        "mixed": "object",
        "huge": "object",
    }
    jobs = made.store.jobs(made.id, states=(JobState.DONE,))
    for name, column in log.hyperparameters.items():
        assert column.tolist() == [job.hyperparameters[name] for job in jobs], name
    assert set(map(type, log.hyperparameters["flag"])) == {bool}


def test_whole_and_real_numbers_in_different_pages_are_real_numbers():
    values = ValueColumns()
    values.add([{"a": 1}, {"a": 2}])
    values.add([{"a": 0.5, "b": "x"}])
    assert values.columns()["a"].tolist() == [1.0, 2.0, 0.5]
    assert values.columns()["b"].tolist() == [None, None, "x"]


def test_metrics_that_were_not_reported_are_told_from_those_that_are_no_number():
    made = crew(population=3)
    reported = ({"accuracy": 0.5, "loss": math.nan}, {"accuracy": 0.5}, {"loss": math.inf})
    for metrics in reported:
        lease = made.claim()
        made.store.report(lease, Report(0.5, metrics, made.save()))
    log = read(made)
    assert log.reported["loss"].tolist() == [True, False, True]
    assert log.reported["accuracy"].tolist() == [True, True, False]
    assert np.isnan(log.metrics["loss"]).tolist() == [True, True, False]
    assert log.metrics["loss"][2] == math.inf


def test_a_pushed_member_has_its_rows():
    made = crew(population=1, rounds=3)
    made.train(0.5)
    made.store.push(made.id, {"lr": 0.5})
    made.train(0.75, member=1)
    log = read(made)
    assert log.rows.tolist() == [[0], [1]]
    assert log.hyperparameters["lr"][1] == 0.5


def test_a_parent_that_is_not_in_the_log_counts_as_none():
    made = crew()
    jobs = [
        job(0, 3, parent=JobId(7, 3)),
        job(0, 4, parent=JobId(0, 3)),
        job(0, 5, parent=JobId(0, 99)),
        job(1, 5, parent=JobId(1, 4)),
    ]
    log = Log.of(made.status(), jobs)
    assert log.parent.tolist() == [-1, 0, -1, -1]
    assert log.lineage(1).tolist() == [0, 1]


def test_a_job_that_has_not_finished_is_named_with_what_there_is():
    made = bred()
    made.claim("w1")
    log = read(made)
    assert JobId(1, 1) in log
    assert JobId(0, 2) not in log
    for unknown, told in (
        (JobId(7, 0), "members 0 to 1"),
        (JobId(0, 2), "member 0 has finished rounds 0 to 1"),
    ):
        with pytest.raises(ev.UnknownJob, match=f"{unknown}.*{told}"):
            log.row(unknown)
    with pytest.raises(ev.UnknownJob, match="none has finished yet"):
        read(crew()).row(JobId(0, 0))


def test_reading_leaves_the_search_for_garbage_as_it_was():

    made = bred()
    read(made)
    assert gc.isenabled()
    gc.disable()
    try:
        read(made)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_log_grows_between_readings():
    made = crew(population=1, rounds=3)
    made.train(0.5)
    assert len(read(made)) == 1
    made.store.heartbeat(made.claim(), lease_s=LONG)
    assert len(read(made)) == 1
    assert read(made).status.counts[JobState.RUNNING] == 1


@pytest.mark.parametrize("window", [1, 2, 3, 100])
def test_last_scores_are_those_along_the_lineage(window: int):
    made = crew(population=4, rounds=8, algorithm=PBT(BinaryTournament()), best="mean of 3")
    rng = np.random.default_rng(window)
    made.run(lambda _: None if rng.random() < 0.2 else float(rng.integers(9)))
    log = read(made)
    n, mean = log.last_scores(window)
    for row in range(len(log)):
        scores = [log.score[i] for i in log.lineage(row)][-window:]
        if log.failed[row]:
            assert (n[row], np.isnan(mean[row])) == (0, True)
        else:
            assert n[row] == len(scores)
            assert mean[row] == pytest.approx(np.mean(scores))
    assert log.copied().any()
    assert log.failed.any()


def test_the_best_row_is_the_best_job_of_the_study():
    made = crew(population=2, rounds=9, best="mean of 2")
    for score in (0.5, 0.0, 0.5, 1.0, 0.25, 0.25):
        made.train(score)
    log = read(made)
    assert log.id(log.best_row()) == made.status().best == "m1r2"
    assert log.id(log.best_row(window=1)) == "m1r1"
    assert log.id(log.best_row(4)) == "m0r1"
    assert log.id(replace(log, status=replace(log.status, best=None)).best_row()) == "m1r2"
    assert read(crew(best="mean of 2")).best_row() is None


def test_means_of_the_largest_scores_are_finite():
    made = crew(population=1, rounds=9, best="mean of 3")
    for _ in range(3):
        made.train(1.7e308)
    assert np.isfinite(read(made).last_scores(3)[1]).all()


def test_metrics_beside_numbers_are_no_columns_of_numbers():
    columns = NumberColumns()
    columns.add([{"x": 1, "note": "a"}, {"x": 10**400, "note": None}])
    columns.add([{"x": "text"}, {"x": True, "map": [[1, 2]]}])
    numbers, there, others = columns.columns(), columns.present(), columns.others()
    assert (list(numbers), list(others)) == (["x"], ["x", "note", "map"])
    assert np.array_equal(numbers["x"], [1, np.inf, np.nan, 1], equal_nan=True)
    assert there["x"].tolist() == [True, True, False, True]
    assert others["x"].tolist() == [None, None, "text", None]
    assert others["map"].tolist() == [None, None, None, [[1, 2]]]

"""Reading: the log in its order, lineages, points, and records that nobody can change."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from evolvent.core.algorithms import PBT
from evolvent.core.exploit import CopyBest
from evolvent.core.explore import NoExplore
from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.errors import UnknownStudy
from evolvent.store.protocol import Store
from evolvent.store.records import JOB_COLUMNS, Point
from tests.contract.crew import INVALID, LONG, RETURNED, Crew
from tests.settings import study_record

COPY_BEST = PBT(exploit=CopyBest(), explore=NoExplore())


class ReadingContract:
    """Whatever reads the log."""

    def test_finished_jobs_come_as_reported_then_the_heads_by_member(self, store: Store) -> None:
        crew = Crew(store, population=3, rounds=3)
        crew.train(0.5, member=2)
        crew.fail(crew.claim_of(1))
        crew.claim_of(0)
        ids = [job.id for job in store.jobs(crew.id)]
        states = [job.state.value for job in store.jobs(crew.id)]
        assert ids == ["m2r0", "m1r0", "m0r0", "m1r1", "m2r1"]
        assert states == ["done", "failed", "running", "cancelled", "queued"]

    def test_jobs_can_be_chosen_by_state(self, store: Store) -> None:
        crew = Crew(store, population=3, rounds=3)
        crew.train(0.5, member=2)
        crew.fail(crew.claim_of(1))
        crew.claim_of(0)

        def chosen(*states: JobState) -> list[str]:
            return [job.id for job in store.jobs(crew.id, states=states)]

        assert chosen(JobState.DONE) == ["m2r0"]
        assert chosen(JobState.FAILED, JobState.CANCELLED) == ["m1r0", "m1r1"]
        assert chosen(JobState.RUNNING) == ["m0r0"]
        assert chosen(JobState.DONE, JobState.QUEUED) == ["m2r0", "m2r1"]
        assert chosen() == []

    def test_log_can_be_read_on_as_it_grows(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=4)
        finished = (JobState.DONE, JobState.FAILED)
        seen: list[JobRecord] = []
        for _ in range(8):
            crew.finish(crew.claim(), lambda job: None if job.id == "m1r3" else 0.5)
            seen += store.jobs(crew.id, states=finished, after=len(seen))
        assert seen == store.jobs(crew.id, states=finished)
        assert [job.id for job in seen[:3]] == ["m0r0", "m1r0", "m0r1"]
        assert store.jobs(crew.id, states=finished, after=99) == []

    def test_what_is_left_out_and_how_many_come(self, store: Store) -> None:
        crew = Crew(store, population=3, rounds=2)
        for _ in range(4):
            crew.train(0.5)

        def ids(**how: Any) -> list[str]:
            return [job.id for job in store.jobs(crew.id, **how)]

        assert ids() == ["m0r0", "m1r0", "m2r0", "m0r1", "m1r1", "m2r1"]
        assert ids(after=3) == ["m0r1", "m1r1", "m2r1"]
        assert ids(after=9) == ["m1r1", "m2r1"]
        assert ids(limit=2) == ["m0r0", "m1r0"]
        assert ids(after=3, limit=2) == ["m0r1", "m1r1"]
        assert ids(limit=0) == []
        assert ids(limit=99) == ids()

    def test_a_scan_gives_the_finished_jobs_as_they_are_stored(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=9, algorithm=COPY_BEST)
        crew.train(0.5, member=0)
        crew.fail(crew.claim_of(1), INVALID)
        crew.train(0.25, member=1)
        crew.claim("w1")
        jobs = store.jobs(crew.id, states=(JobState.DONE, JobState.FAILED))
        assert [job.id for job in jobs] == ["m0r0", "m1r0", "m1r1"]
        assert [_cells(row) for row in store.scan(crew.id, JOB_COLUMNS)] == [
            {
                **{c: getattr(job, c) for c in JOB_COLUMNS if not c.startswith("parent_")},
                "parent_member": None if job.parent is None else job.parent.member,
                "parent_round": None if job.parent is None else job.parent.round,
                "parent_checkpoint": job.parent_checkpoint,
            }
            for job in jobs
        ]

    def test_a_scan_gives_the_columns_asked_for_page_by_page(self, store: Store) -> None:
        crew = Crew(store, population=3, rounds=2)
        assert store.scan(crew.id, ("member", "round")) == []
        for score in (0.5, 0.25, 0.75, 0.125):
            crew.train(score)
        Crew(store, study_record(name="another")).train(0.0)

        def seen(**how: Any) -> list[tuple[Any, ...]]:
            return store.scan(crew.id, ("round", "member", "score"), **how)

        assert seen() == [(0, 0, 0.5), (0, 1, 0.25), (0, 2, 0.75), (1, 0, 0.125)]
        assert seen(after=1, limit=2) == [(0, 1, 0.25), (0, 2, 0.75)]
        assert seen(after=3) == seen(after=3, limit=9) == [(1, 0, 0.125)]
        assert seen(after=4) == seen(limit=0) == []
        with pytest.raises(UnknownStudy):
            store.scan(99, ("member",))

    def test_job_is_the_same_however_it_is_read(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=3)
        crew.train(0.5)
        crew.claim("w3")
        jobs = store.jobs(crew.id)
        assert [store.job(crew.id, job.id) for job in jobs] == jobs
        views = store.members(crew.id)
        assert [view.newest for view in views] == [jobs[0], None]
        assert [view.open for view in views] == [jobs[1], jobs[2]]

    def test_lineage_follows_the_weights(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=9, algorithm=COPY_BEST)
        crew.train(0.5, member=0)
        crew.train(0.1, member=1)
        crew.train(0.9, member=1)
        crew.train(0.1, member=0)
        crew.claim_of(0)

        def line(member: int, round_: int) -> list[str]:
            return [job.id for job in store.lineage(crew.id, JobId(member, round_))]

        assert line(0, 0) == ["m0r0"]
        assert line(1, 1) == ["m0r0", "m1r1"]
        assert line(0, 2) == ["m0r0", "m1r1", "m0r2"]
        assert line(1, 0) == ["m1r0"]
        assert line(1, 2) == ["m0r0", "m1r1", "m1r2"]
        states = [store.lineage(crew.id, JobId(member, 2))[-1].state for member in (0, 1)]
        assert states == [JobState.RUNNING, JobState.QUEUED]

    def test_points_come_in_the_order_in_which_they_were_logged(self, store: Store) -> None:
        crew = Crew(store, population=1)
        lease = crew.claim()
        job = lease.job.id
        assert store.points(crew.id, job) == []
        first = [Point(10, {"loss": 0.1 + 0.2, "lr": 1e-300}), Point(5.5, {})]
        store.heartbeat(lease, lease_s=LONG, points=first)
        store.heartbeat(lease, lease_s=LONG)
        assert store.points(crew.id, job) == first
        second = [Point(5.5, {"löss": math.inf})]
        store.heartbeat(lease, lease_s=LONG, points=second)
        crew.report(lease, 0.5, [Point(-1, {"loss": 2**53 + 1})])
        assert store.points(crew.id, job) == [*first, *second, Point(-1, {"loss": 2**53 + 1})]
        assert store.points(crew.id, JobId(0, 1)) == []

    def test_points_may_hold_nan(self, store: Store) -> None:
        crew = Crew(store, population=1)
        lease = crew.claim()
        store.heartbeat(lease, lease_s=LONG, points=[Point(1, {"loss": math.nan})])
        (point,) = store.points(crew.id, lease.job.id)
        assert math.isnan(point.values["loss"])

    def test_points_of_attempts_that_failed_do_not_count(self, store: Store) -> None:
        crew = Crew(store, population=1)
        lease = crew.claim()
        store.heartbeat(lease, lease_s=LONG, points=[Point(1, {"loss": 9.0})])
        crew.fail(lease, RETURNED)
        lease = crew.claim()
        assert store.points(crew.id, lease.job.id) == []
        crew.report(lease, 0.5, [Point(1, {"loss": 8.0})])
        assert store.points(crew.id, lease.job.id) == [Point(1, {"loss": 8.0})]

    def test_points_of_a_member_are_those_of_its_jobs(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=3)
        lease = crew.claim_of(1)
        store.heartbeat(lease, lease_s=LONG, points=[Point(1, {"loss": 99.0})])
        crew.fail(lease, RETURNED)
        lease = crew.claim_of(1)
        crew.report(lease, 0.5, [Point(2, {"loss": 0.1 + 0.2}), Point(1, {"a": 1.0, "loss": 2.0})])
        crew.train(0.5, member=0)
        store.heartbeat(crew.claim_of(0), lease_s=LONG, points=[Point(7, {"loss": 7.0})])
        store.heartbeat(crew.claim_of(1), lease_s=LONG, points=[Point(8.5, {"loss": math.inf})])
        assert [_decoded(point) for point in store.points_of(crew.id, 1)] == [
            (0, 2.0, {"loss": 0.1 + 0.2}),
            (0, 1.0, {"a": 1.0, "loss": 2.0}),
            (1, 8.5, {"loss": math.inf}),
        ]
        assert [_decoded(point) for point in store.points_of(crew.id, 0)] == [
            (1, 7.0, {"loss": 7.0})
        ]
        assert store.points_of(crew.id, 2) == []

    def test_nobody_can_change_the_log_through_a_record(self, store: Store) -> None:
        crew = Crew(store, population=1)
        lease = crew.claim()
        crew.report(lease, 0.5, [Point(1, {"loss": 1.0})])
        crew.claim()
        job = lease.job.id
        reads: list[Callable[[], list[JobRecord | None]]] = [
            lambda: list(store.jobs(crew.id)),
            lambda: [store.job(crew.id, job)],
            lambda: list(store.lineage(crew.id, job)),
            lambda: [view.newest for view in store.members(crew.id)],
            lambda: [view.open for view in store.members(crew.id)],
        ]
        for read in reads:
            before = repr(read())
            for record in read():
                assert record is not None
                _spoil(record.hyperparameters)
                _spoil(record.metrics)
            assert repr(read()) == before
        _spoil(store.points(crew.id, job)[0].values)
        assert store.points(crew.id, job) == [Point(1, {"loss": 1.0})]

    def test_nobody_can_change_the_log_through_what_was_given(self, store: Store) -> None:
        crew = Crew(store, population=1)
        lease = crew.claim()
        values = {"loss": 1.0}
        store.heartbeat(lease, lease_s=LONG, points=[Point(1, values)])
        report = crew.report(lease, 0.5)
        for mapping in (values, lease.job.hyperparameters, report.metrics):
            _spoil(mapping)
        job = store.job(crew.id, lease.job.id)
        assert (job.metrics, set(job.hyperparameters)) == ({"accuracy": 0.5}, {"lr", "momentum"})
        assert store.points(crew.id, job.id) == [Point(1, {"loss": 1.0})]
        given = {"lr": 0.25}
        pushed = store.push(crew.id, given)
        _spoil(given)
        assert set(store.job(crew.id, pushed).hyperparameters) == {"lr", "momentum"}


def _cells(row: tuple[Any, ...]) -> dict[str, Any]:
    """Return a row of all columns by name, decoded."""
    cells = dict(zip(JOB_COLUMNS, row, strict=True))
    texts = {name: json.loads(cells[name]) for name in ("hyperparameters", "metrics")}
    return {**cells, **texts}


def _decoded(point: tuple[int, float, str]) -> tuple[int, float, Any]:
    return point[0], point[1], json.loads(point[2])


def _spoil(mapping: Any) -> None:
    with suppress(TypeError):
        mapping["spoiled"] = 1.0

"""The keeper of leases: points are stored once, whatever becomes of an answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from evolvent.engines.job import Job
from evolvent.engines.lease import LeaseKeeper
from evolvent.errors import StoreUnavailable
from evolvent.store.memory import MemoryDatabase
from evolvent.store.records import Failure, FailureKind, Lease, Point
from evolvent.store.sql.store import SqlStore
from tests.contract.crew import Crew

BEAT_S = 0.05


class Deaf(SqlStore):
    """A store of which the first answers to heartbeats with points get lost, or the calls too.

    Args:
        lost: so many.
        done: whether what was asked is done all the same.
    """

    def __init__(self, lost: int, *, done: bool) -> None:
        super().__init__(MemoryDatabase())
        self.lost, self.done = lost, done
        self.tried, self.answered = threading.Event(), threading.Event()

    def heartbeat(
        self, lease: Lease, *, lease_s: float, points: Sequence[Point] = (), key: str | None = None
    ) -> None:
        if points and self.lost:
            self.lost -= 1
            if self.done:
                super().heartbeat(lease, lease_s=lease_s, points=points, key=key)
            self.tried.set()
            raise StoreUnavailable("the answer was lost")
        super().heartbeat(lease, lease_s=lease_s, points=points, key=key)
        if points:
            self.answered.set()


def held(store: Deaf, tmp_path: Path) -> tuple[Lease, Job]:
    lease = Crew(store, population=1).claim()
    return lease, job_of(lease, tmp_path)


def job_of(lease: Lease, tmp_path: Path) -> Job:
    return Job(
        id=lease.job.id, study="s", attempt=lease.attempt, hyperparameters={}, checkpoint=None,
        directory=tmp_path, seed=0,
    )  # fmt: skip


def keeper(store: Deaf) -> LeaseKeeper:
    return LeaseKeeper(store, lease_s=3 * BEAT_S, hang_s=None, on_hang=lambda _: None)


def steps(store: Deaf, lease: Lease) -> list[float]:
    return [point.step for point in store.points(lease.study, lease.job.id)]


@pytest.mark.parametrize("done", [True, False])
def test_points_are_sent_until_they_are_answered_and_stored_once(
    done: bool, tmp_path: Path
) -> None:
    store = Deaf(2, done=done)
    lease, job = held(store, tmp_path)
    with keeper(store) as leases:
        leases.hold(lease, job)
        job.log(step=1, loss=0.5)
        assert store.tried.wait(30)
        job.log(step=2, loss=0.25)
        assert store.answered.wait(30)
        leases.drop(job)
    assert steps(store, lease) + [point.step for point in job.take_points()] == [1.0, 2.0]


@pytest.mark.parametrize("done", [True, False])
def test_points_without_an_answer_are_sent_once_more_before_the_report(
    done: bool, tmp_path: Path
) -> None:
    store = Deaf(1, done=done)
    lease, job = held(store, tmp_path)
    with keeper(store) as leases:
        leases.hold(lease, job)
        job.log(step=1, loss=0.5)
        assert store.tried.wait(30)
        leases.drop(job)
    assert steps(store, lease) == [1.0]
    assert job.take_points() == []


def test_a_lost_attempt_that_ends_late_leaves_the_next_one_of_its_job_alone(
    tmp_path: Path,
) -> None:
    store = Deaf(0, done=True)
    first = Crew(store, population=1).claim()
    store.release(first.study, worker=first.worker, failure=Failure(FailureKind.LOST, "lost"))
    second = store.claim(first.study, worker=first.worker, lease_s=60.0)
    assert second is not None
    late, job = job_of(first, tmp_path), job_of(second, tmp_path)
    with keeper(store) as leases:
        leases.hold(first, late)
        leases.hold(second, job)
        leases.drop(late)
        job.log(step=1, loss=0.5)
        assert store.answered.wait(30)


def test_points_that_cannot_be_sent_at_all_go_with_the_report(tmp_path: Path) -> None:
    store = Deaf(10**6, done=False)
    lease, job = held(store, tmp_path)
    with keeper(store) as leases:
        leases.hold(lease, job)
        job.log(step=1, loss=0.5)
        assert store.tried.wait(30)
        job.log(step=2, loss=0.25)
        leases.drop(job)
    assert [point.step for point in job.take_points()] == [1.0, 2.0]

"""The keeper of leases: points are stored once, whatever becomes of an answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from evolvent.core.records import JobId
from evolvent.engines import lease as lease_module
from evolvent.engines.ask import ask
from evolvent.engines.attempt import Attempt
from evolvent.engines.job import Job
from evolvent.engines.lease import LeaseKeeper
from evolvent.engines.runner import Verdict
from evolvent.engines.worker import Worker, WorkerOptions
from evolvent.errors import StoreUnavailable
from evolvent.store.memory import MemoryDatabase
from evolvent.store.records import Failure, FailureKind, Lease, Point
from evolvent.store.sql.store import SqlStore
from tests.contract.crew import INVALID, Crew
from tests.service.served import until

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
        self.beaten = threading.Semaphore(0)

    def heartbeat(
        self,
        lease: Lease,
        *,
        lease_s: float,
        points: Sequence[Point] = (),
        offset: int | None = None,
    ) -> None:
        if points and self.lost:
            self.lost -= 1
            if self.done:
                super().heartbeat(lease, lease_s=lease_s, points=points, offset=offset)
            self.tried.set()
            raise StoreUnavailable("the answer was lost")
        super().heartbeat(lease, lease_s=lease_s, points=points, offset=offset)
        if points:
            self.answered.set()
        self.beaten.release()

    def undo(self, lease: Lease, n: int) -> None:
        """Lose the newest points, as a crash of a server does with what it has not synced."""
        newest = "SELECT id FROM point ORDER BY id DESC LIMIT :n"
        with self._session.database.write(synced=False, study=lease.study) as tx:
            tx.execute(f"DELETE FROM point WHERE id IN ({newest})", {"n": n})


def held(store: Deaf, tmp_path: Path) -> tuple[Lease, Job]:
    lease = Crew(store, population=1).claim()
    return lease, job_of(lease, tmp_path)


def opened(store: Deaf, leases: LeaseKeeper) -> tuple[Lease, Job, Attempt]:
    crew = Crew(store, population=1)
    lease = crew.claim()
    attempt = Attempt(store.checkpoints(crew.id), crew.record, lease, leases)
    job = attempt.open(Job)
    (job.directory / "weights").write_text("w")
    return lease, job, attempt


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
        n_stored = leases.drop(job)
    rest = [point.step for point in job.logged(after=n_stored)]
    assert steps(store, lease) + rest == [1.0, 2.0]


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("verdict", [(0.5, {"accuracy": 0.5}), INVALID], ids=["report", "failure"])
def test_points_without_an_answer_are_stored_once_at_the_end(done: bool, verdict: Verdict) -> None:
    store = Deaf(1, done=done)
    with keeper(store) as leases:
        lease, job, attempt = opened(store, leases)
        job.log(step=1, loss=0.5)
        assert store.tried.wait(30)
        job.log(step=2, loss=0.25)
        attempt.finish(job, verdict)
    assert steps(store, lease) == [1.0, 2.0]


@pytest.mark.parametrize("verdict", [(0.5, {"accuracy": 0.5}), INVALID], ids=["report", "failure"])
def test_points_that_a_crash_of_the_database_undoes_are_stored_again(verdict: Verdict) -> None:
    store = Deaf(0, done=True)
    with keeper(store) as leases:
        lease, job, attempt = opened(store, leases)
        for step in range(3):
            job.log(step=step, loss=0.5)
        assert store.answered.wait(30)
        store.undo(lease, 2)
        job.log(step=3, loss=0.25)
        attempt.finish(job, verdict)
    assert steps(store, lease) == [0.0, 1.0, 2.0, 3.0]


def test_heartbeats_go_on_when_a_crash_of_the_database_has_undone_points(tmp_path: Path) -> None:
    store = Deaf(0, done=True)
    lease, job = held(store, tmp_path)
    with keeper(store) as leases:
        leases.hold(lease, job)
        for step in range(3):
            job.log(step=step, loss=0.5)
        assert store.answered.wait(30)
        store.undo(lease, 2)
        job.log(step=3, loss=0.25)
        while len(steps(store, lease)) < 4:
            assert store.beaten.acquire(timeout=30)
        assert leases.drop(job) == 4
    assert steps(store, lease) == [0.0, 1.0, 2.0, 3.0]


def test_points_whose_lease_was_lost_before_their_answer_came_are_no_error(tmp_path: Path) -> None:
    store = Deaf(1, done=True)
    lease, job = held(store, tmp_path)
    with keeper(store) as leases:
        leases.hold(lease, job)
        job.log(step=1, loss=0.5)
        assert store.tried.wait(30)
        store.release(lease.study, worker=lease.worker, failure=INVALID)
        assert store.answered.wait(30)  # as the first time; the next heartbeat hears of it
        until(lambda: job.lost, what="the loss of the lease to be heard of")


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


def test_points_that_cannot_be_sent_at_all_go_with_the_report() -> None:
    store = Deaf(10**6, done=False)
    with keeper(store) as leases:
        lease, job, attempt = opened(store, leases)
        job.log(step=1, loss=0.5)
        assert store.tried.wait(30)
        job.log(step=2, loss=0.25)
        attempt.finish(job, (0.5, {"accuracy": 0.5}))
    assert steps(store, lease) == [1.0, 2.0]


def test_many_points_are_sent_in_pieces_and_stored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "_MOST_SENT", 3)
    store = Deaf(0, done=True)
    with keeper(store) as leases:
        lease, job, attempt = opened(store, leases)
        for step in range(10):
            job.log(step=step, loss=0.5)
        attempt.finish(job, (0.5, {"accuracy": 0.5}))
    assert steps(store, lease) == [float(step) for step in range(10)]


def test_points_logged_before_training_raises_are_stored() -> None:
    store = Deaf(0, done=True)
    crew = Crew(store, population=1, max_failures=0)

    def train(job: Job) -> dict[str, float]:
        for step in range(5):
            job.log(step=step, loss=0.5)
        raise ValueError("boom")

    Worker(store, crew.id, train, WorkerOptions(name="w", overlap=False)).work()
    assert [point.step for point in store.points(crew.id, JobId(0, 0))] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_points_logged_before_an_asked_job_raises_are_stored() -> None:
    store = Deaf(0, done=True)
    crew = Crew(store, population=1, max_failures=0)
    asked = ask(store, crew.id, wait=False)
    assert asked is not None
    asked.log(step=1, loss=0.5)
    assert not asked.__exit__(ValueError, ValueError("boom"), None)
    assert [point.step for point in store.points(crew.id, JobId(0, 0))] == [1.0]

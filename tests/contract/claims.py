"""Claims and leases: who gets which job, for how long, and who no longer counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from evolvent.core.records import JobId, JobState
from evolvent.errors import LeaseLost
from evolvent.store.protocol import Store
from evolvent.store.records import MAX_LOSSES, FailureKind, Lease, Point, Report, StudyState
from tests.contract.crew import INVALID, LONG, OVER, RETURNED, Crew

PATIENCE_S = 20.0


class ClaimsContract:
    """Claims and leases."""

    def test_lowest_round_comes_first_then_lowest_member(self, store: Store) -> None:
        crew = Crew(store, population=3, rounds=2)
        assert [crew.claim().job.id for _ in range(2)] == ["m0r0", "m1r0"]
        crew = Crew(store, name="other", population=3, rounds=2)
        claimed = [crew.train(0.5) for _ in range(6)]
        assert claimed == ["m0r0", "m1r0", "m2r0", "m0r1", "m1r1", "m2r1"]

    def test_preferred_member_comes_first_within_the_round_only(self, store: Store) -> None:
        crew = Crew(store, population=3, rounds=2)
        assert crew.train(0.5, member=2) == "m2r0"
        assert crew.claim(prefer=2).job.id == "m0r0"
        assert crew.claim(prefer=99).job.id == "m1r0"
        assert crew.claim(prefer=0).job.id == "m2r1"

    def test_lease_shows_the_job_as_it_is_to_be_trained(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=2)
        queued = crew.open(0)
        lease = crew.claim("worker ü")
        assert (lease.study, lease.worker, lease.attempt) == (crew.id, "worker ü", 1)
        job = lease.job
        assert (job.id, job.state, job.worker, job.attempt) == (
            "m0r0",
            JobState.RUNNING,
            "worker ü",
            1,
        )
        assert (job.parent, job.parent_checkpoint) == (None, None)
        assert job.hyperparameters == queued.hyperparameters
        assert job.reason == queued.reason != ""
        assert job.started_at is not None
        assert crew.open(0) == job
        assert crew.status().started_at == job.started_at
        report = crew.report(lease, 0.5)
        following = crew.claim().job
        assert (following.parent, following.parent_checkpoint) == ("m0r0", report.checkpoint)

    def test_there_is_nothing_to_claim_while_all_are_running(self, store: Store) -> None:
        crew = Crew(store, population=2)
        leases = [crew.claim(), crew.claim()]
        assert crew.nothing_to_claim()
        assert crew.status().state is StudyState.OPEN
        assert crew.status().counts.get(JobState.RUNNING) == len(leases)

    def test_one_worker_may_hold_several_leases(self, store: Store) -> None:
        crew = Crew(store, population=2)
        first, second = crew.claim("w0"), crew.claim("w0")
        crew.report(second, 0.2)
        crew.report(first, 0.1)
        assert crew.status().counts.get(JobState.DONE) == 2

    def test_every_job_goes_to_one_worker_however_many_ask(
        self, store: Store, reopen: Callable[[], Store]
    ) -> None:
        crew = Crew(store, population=40, rounds=1)
        handles = [store, reopen()]

        def claim(i: int) -> JobId | None:
            lease = handles[i % 2].claim(crew.id, worker=f"w{i}", lease_s=LONG)
            return lease.job.id if lease is not None else None

        with ThreadPoolExecutor(8) as pool:
            claimed = list(pool.map(claim, range(50)))
        given = [job for job in claimed if job is not None]
        assert sorted(given) == sorted(JobId(member, 0) for member in range(40))
        handles[1].close()

    def test_threads_that_train_a_study_to_its_end_count_every_job_once(self, store: Store) -> None:
        crew = Crew(store, population=6, rounds=4)
        address = crew.save()

        def work(worker: str) -> int:
            n = 0
            while crew.status().state is StudyState.OPEN:
                lease = store.claim(crew.id, worker=worker, lease_s=LONG)
                if lease is not None:
                    store.report(lease, Report(1.0, {}, address))
                    n += 1
            return n

        with ThreadPoolExecutor(4) as pool:
            counts = list(pool.map(work, ["a", "b", "c", "d"]))
        jobs = store.jobs(crew.id)
        assert sum(counts) == len(jobs) == len({job.id for job in jobs}) == 24
        assert crew.status().state is StudyState.FINISHED
        assert crew.status().counts.get(JobState.DONE) == 24

    def test_expired_lease_goes_to_another_and_is_noted_as_lost(self, store: Store) -> None:
        crew = Crew(store, population=1)
        crew.claim("slow", lease_s=OVER)
        lease = crew.claim("other")
        assert (lease.job.id, lease.attempt) == ("m0r0", 2)
        (failed,) = store.failures(crew.id)
        assert (failed.job, failed.attempt, failed.worker) == ("m0r0", 1, "slow")
        assert failed.failure.kind is FailureKind.LOST
        assert failed.failure.message != ""

    def test_lease_expires_by_the_clock(self, store: Store) -> None:
        crew = Crew(store, population=1)
        crew.claim("slow", lease_s=0.05)
        deadline = time.monotonic() + PATIENCE_S
        lease = None
        while lease is None and time.monotonic() < deadline:
            lease = store.claim(crew.id, worker="other", lease_s=LONG)
        assert lease is not None
        assert lease.attempt == 2

    def test_lease_is_counted_in_seconds(self, store: Store) -> None:
        crew = Crew(store, population=1)
        store.heartbeat(crew.claim(lease_s=30.0), lease_s=30.0)
        assert crew.nothing_to_claim()

    def test_study_has_started_with_its_first_claim(self, store: Store) -> None:
        crew = Crew(store, population=2)
        first = crew.claim().job.started_at
        crew.claim()
        assert crew.status().started_at == first

    def test_expired_lease_takes_its_turn_by_round_and_member(self, store: Store) -> None:
        crew = Crew(store, population=3, rounds=2)
        crew.train(0.5, member=0)
        crew.claim(prefer=2, lease_s=OVER)
        assert [crew.claim().job.id for _ in range(3)] == ["m1r0", "m2r0", "m0r1"]

    def test_heartbeat_prolongs_a_lease(self, store: Store) -> None:
        crew = Crew(store, population=2)
        alive = crew.claim("alive", lease_s=OVER)
        store.heartbeat(alive, lease_s=LONG)
        assert crew.claim().job.id == "m1r0"
        assert crew.nothing_to_claim()
        store.heartbeat(alive, lease_s=OVER)
        assert crew.claim().job.id == "m0r0"

    def test_running_job_tells_until_when_its_worker_has_it(self, store: Store) -> None:
        crew = Crew(store, population=2)
        lease = crew.claim(lease_s=LONG)
        job, began = crew.open(0), lease.job.started_at
        assert job.lease_until is not None
        assert began is not None
        assert job.lease_until - began == pytest.approx(LONG, abs=1.0)
        assert lease.job.lease_until == job.lease_until
        store.heartbeat(lease, lease_s=3 * LONG)
        prolonged = store.job(crew.id, job.id).lease_until
        assert prolonged is not None
        assert prolonged > began + 2 * LONG
        crew.fail(crew.claim(), RETURNED)
        assert crew.open(1).lease_until is None
        crew.report(lease, 0.5)
        assert {found.lease_until for found in store.jobs(crew.id)} == {None}
        crew.train(0.5)
        decided = crew.claim().job  # in this claim, as its round begins
        assert decided.lease_until is not None
        assert store.job(crew.id, decided.id) == decided

    def test_worker_is_lost_when_its_lease_ends_whether_others_ask_or_not(
        self, store: Store
    ) -> None:
        crew = Crew(store, population=3)
        crew.claim("alive")
        silent = crew.claim("silent", lease_s=OVER)
        status = crew.status()
        shown = [status.shown_state(job) for job in store.jobs(crew.id)]
        assert shown == ["running", "lost", "queued"]
        assert (status.counts[JobState.RUNNING], status.lost) == (2, 1)
        assert [it.lost for it in store.studies() if it.id == crew.id] == [1]
        assert status.read_at is not None
        assert silent.job.started_at is not None
        assert status.read_at >= silent.job.started_at
        assert store.job(crew.id, silent.job.id).state is JobState.RUNNING
        store.heartbeat(silent, lease_s=LONG)  # it was slow only
        status = crew.status()
        assert (status.lost, status.shown_state(crew.open(1))) == (0, "running")
        store.heartbeat(silent, lease_s=OVER)
        assert crew.claim("other").job.id == silent.job.id
        status = crew.status()
        assert (status.counts[JobState.RUNNING], status.lost) == (2, 0)

    def test_expired_lease_is_good_until_another_has_it(self, store: Store) -> None:
        crew = Crew(store, population=1)
        lease = crew.claim(lease_s=OVER)
        store.heartbeat(lease, lease_s=OVER)
        crew.report(lease, 0.5)
        assert store.failures(crew.id) == []
        assert store.job(crew.id, lease.job.id).attempt == 1

    def test_late_worker_is_refused_before_and_after_the_other_has_reported(
        self, store: Store
    ) -> None:
        crew = Crew(store, population=1)
        late, current = crew.claim("late", lease_s=OVER), crew.claim("current")
        self._is_refused(crew, late)
        crew.report(current, 0.75)
        self._is_refused(crew, late)
        job = store.job(crew.id, JobId(0, 0))
        assert (job.score, job.attempt, job.worker) == (0.75, 2, "current")
        assert [failed.attempt for failed in store.failures(crew.id)] == [1]

    def test_refused_report_leaves_its_points_out(self, store: Store) -> None:
        crew = Crew(store, population=1)
        late = crew.claim("late", lease_s=OVER)
        store.heartbeat(late, lease_s=OVER, points=[Point(1, {"loss": 9.0})])
        current = crew.claim("current")
        with pytest.raises(LeaseLost):
            store.heartbeat(late, lease_s=LONG, points=[Point(2, {"loss": 8.0})])
        store.heartbeat(current, lease_s=LONG, points=[Point(1, {"loss": 7.0})])
        assert store.points(crew.id, JobId(0, 0)) == [Point(1, {"loss": 7.0})]
        crew.report(current, 0.5, [Point(2, {"loss": 6.0})])
        kept = [Point(1, {"loss": 7.0}), Point(2, {"loss": 6.0})]
        assert store.points(crew.id, JobId(0, 0)) == kept

    def test_job_that_loses_its_worker_too_often_fails(self, store: Store) -> None:
        crew = Crew(store, population=1)
        for attempt in range(1, MAX_LOSSES + 1):
            assert crew.claim(lease_s=OVER).attempt == attempt
        assert crew.nothing_to_claim()
        assert store.job(crew.id, JobId(0, 0)).state is JobState.FAILED
        assert len(store.failures(crew.id)) == MAX_LOSSES
        assert crew.status().state is StudyState.FAILED

    def test_claim_goes_on_to_the_next_job_when_one_was_lost_too_often(self, store: Store) -> None:
        crew = Crew(store, population=2)
        for _ in range(MAX_LOSSES):
            assert crew.claim(lease_s=OVER).job.id == "m0r0"
        assert crew.claim().job.id == "m1r0"
        assert store.job(crew.id, JobId(0, 0)).state is JobState.FAILED

    def _is_refused(self, crew: Crew, lease: Lease) -> None:
        """Whatever a worker tries with a lease that no longer counts changes nothing."""
        before = crew.log()
        report = Report(0.99, {}, crew.save())
        attempts: list[Callable[[], object]] = [
            lambda: crew.store.heartbeat(lease, lease_s=LONG),
            lambda: crew.store.report(lease, report),
            lambda: crew.store.fail(lease, INVALID),
            lambda: crew.store.reparent(lease, parent=JobId(0, 0), reason="damaged"),
        ]
        for attempt in attempts:
            with pytest.raises(LeaseLost):
                attempt()
        assert crew.log() == before

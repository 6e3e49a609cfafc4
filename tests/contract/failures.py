"""Failures: tried again, failed, revived by a copy; and a study in which all have failed."""

from __future__ import annotations

import pytest

from evolvent.core.algorithms import PBT, RandomSearch
from evolvent.core.exploit import Truncation
from evolvent.core.explore import NoExplore
from evolvent.core.records import JobId, JobState
from evolvent.errors import LeaseLost
from evolvent.store.protocol import Store
from evolvent.store.records import MAX_LOSSES, Failure, FailureKind, Report, StudyState
from tests.contract.crew import INVALID, LOST, RAISED, RETURNED, Crew

TRUNCATION = PBT(exploit=Truncation(0.5), explore=NoExplore())
M0R0 = JobId(0, 0)
FINAL = [INVALID, Failure(FailureKind.DAMAGED, "no sound ancestor")]


class FailuresContract:
    """Failed attempts and failed jobs."""

    def test_exception_is_tried_again_so_often_and_then_the_job_has_failed(
        self, store: Store
    ) -> None:
        crew = Crew(store, population=2, max_failures=2)
        first = crew.open(0)
        for attempt in (1, 2):
            crew.fail(crew.claim_of(0), RAISED)
            job = crew.open(0)
            assert (job.state, job.attempt, job.error) == (
                JobState.QUEUED,
                attempt,
                RAISED.traceback,
            )
            assert job.worker is None
            assert (job.hyperparameters, job.parent) == (first.hyperparameters, first.parent)
        crew.fail(crew.claim_of(0, "w3"), RAISED)
        job = store.job(crew.id, M0R0)
        assert (job.state, job.score, job.checkpoint) == (JobState.FAILED, None, None)
        assert (job.attempt, job.worker, job.error) == (3, "w3", RAISED.traceback)
        assert job.metrics == {}
        assert job.finished_at is not None

    def test_without_further_tries_the_first_exception_counts(self, store: Store) -> None:
        crew = Crew(store, population=2, max_failures=0)
        crew.fail(crew.claim(), RAISED)
        assert store.job(crew.id, M0R0).state is JobState.FAILED

    @pytest.mark.parametrize("failure", FINAL, ids=lambda failure: failure.kind)
    def test_what_would_only_repeat_itself_fails_at_once(
        self, store: Store, failure: Failure
    ) -> None:
        crew = Crew(store, population=2, max_failures=5)
        crew.fail(crew.claim(), failure)
        job = store.job(crew.id, M0R0)
        assert (job.state, job.error) == (JobState.FAILED, failure.message)

    def test_what_utf8_cannot_hold_is_told_all_the_same(self, store: Store) -> None:
        crew = Crew(store, population=2, max_failures=0)
        name = b"caf\xe9.txt".decode("utf-8", "surrogateescape")  # as os.listdir gives it
        crew.fail(crew.claim(), Failure(FailureKind.INVALID, f"no {name}", f"line 1: no {name}"))
        assert store.job(crew.id, M0R0).error == r"line 1: no caf\udce9.txt"
        store.stop(crew.id, reason=name)
        assert store.status(crew.id).stopped == r"caf\udce9.txt"

    def test_returned_job_is_requeued_as_often_as_it_takes(self, store: Store) -> None:
        crew = Crew(store, population=1, max_failures=0)
        for _ in range(MAX_LOSSES + 5):
            crew.fail(crew.claim(), RETURNED)
        crew.fail(crew.claim(), LOST)
        assert crew.claim().attempt == MAX_LOSSES + 7

    def test_lost_job_is_requeued_until_it_was_lost_too_often(self, store: Store) -> None:
        crew = Crew(store, population=1, max_failures=0)
        for _ in range(MAX_LOSSES - 1):
            crew.fail(crew.claim(), LOST)
        lease = crew.claim()
        crew.fail(lease, LOST)
        assert store.job(crew.id, M0R0).state is JobState.FAILED

    def test_each_kind_is_counted_by_itself_and_for_each_job_anew(self, store: Store) -> None:
        crew = Crew(store, population=1, max_failures=1, rounds=3)
        for failure in (LOST, RAISED, RETURNED, LOST):
            crew.fail(crew.claim(), failure)
        crew.train(0.5)
        crew.fail(crew.claim(), RAISED)
        assert crew.claim().job.id == "m0r1"

    def test_failed_attempts_are_kept_the_newest_last(self, store: Store) -> None:
        crew = Crew(store, population=2, max_failures=9)
        crew.fail(crew.claim_of(0, "w0"), RAISED)
        crew.fail(crew.claim_of(1, "w1"), LOST)
        crew.fail(crew.claim_of(0, "w2"), RAISED)
        kept = [(f.job, f.attempt, f.failure, f.worker) for f in store.failures(crew.id)]
        assert kept == [
            ("m0r0", 1, RAISED, "w0"),
            ("m1r0", 1, LOST, "w1"),
            ("m0r0", 2, RAISED, "w2"),
        ]
        assert [f.worker for f in store.failures(crew.id, limit=2)] == ["w1", "w2"]
        assert store.failures(crew.id, limit=0) == []
        assert all(f.at > 1.5e9 for f in store.failures(crew.id))

    def test_done_job_shows_no_error_of_an_earlier_attempt(self, store: Store) -> None:
        crew = Crew(store, population=1)
        crew.fail(crew.claim(), RAISED)
        crew.train(0.5)
        assert store.job(crew.id, M0R0).error is None

    def test_attempt_that_failed_no_longer_counts(self, store: Store) -> None:
        crew = Crew(store, population=2)
        for failure in (RETURNED, INVALID):
            lease = crew.claim_of(0)
            crew.fail(lease, failure)
            store.fail(lease, failure)  # noted already
            with pytest.raises(LeaseLost):
                store.fail(lease, LOST)
            with pytest.raises(LeaseLost):
                store.report(lease, Report(0.5, {}, crew.save()))
        assert len(store.failures(crew.id)) == 2

    def test_reported_job_cannot_fail_any_more(self, store: Store) -> None:
        crew = Crew(store, population=1)
        lease = crew.claim()
        crew.report(lease, 0.5)
        with pytest.raises(LeaseLost):
            store.fail(lease, RAISED)
        assert store.failures(crew.id) == []

    def test_release_hands_back_what_one_worker_holds(self, store: Store) -> None:
        crew = Crew(store, population=4, max_failures=0)
        mine = [crew.claim("dead") for _ in range(2)]
        theirs = crew.claim("alive")
        assert store.release(crew.id, worker="dead", failure=LOST) == 2
        assert store.release(crew.id, worker="dead", failure=LOST) == 2  # as the first time
        assert store.release(crew.id, worker="dead", failure=INVALID) == 0
        assert store.release(crew.id, worker="nobody", failure=LOST) == 0
        for lease in mine:
            with pytest.raises(LeaseLost):
                store.report(lease, Report(0.5, {}, crew.save()))
        crew.report(theirs, 0.5)
        assert [crew.claim().job.id for _ in range(2)] == ["m0r0", "m1r0"]
        assert [failed.failure for failed in store.failures(crew.id)] == [LOST, LOST]

    def test_release_can_end_jobs_for_good(self, store: Store) -> None:
        crew = Crew(store, population=3)
        crew.claim("w0"), crew.claim("w0")
        assert store.release(crew.id, worker="w0", failure=INVALID) == 2
        assert crew.status().counts.get(JobState.FAILED) == 2

    def test_failed_member_copies_a_healthy_one_at_once(self, store: Store) -> None:
        crew = Crew(store, population=3, algorithm=TRUNCATION)
        crew.train(0.1, member=2)
        crew.fail(crew.claim_of(0))
        job = crew.open(0)
        assert (job.id, job.parent) == ("m0r1", "m2r0")
        assert job.hyperparameters == store.job(crew.id, JobId(2, 0)).hyperparameters

    def test_failed_member_waits_for_the_first_healthy_one(self, store: Store) -> None:
        crew = Crew(store, population=3, algorithm=TRUNCATION)
        crew.fail(crew.claim_of(0))
        crew.fail(crew.claim_of(1))
        assert [member.open is None for member in store.members(crew.id)] == [True, True, False]
        assert crew.status().state is StudyState.OPEN
        lease = crew.claim()
        assert crew.nothing_to_claim()
        crew.report(lease, 0.1)
        assert [crew.open(member).parent for member in (0, 1, 2)] == ["m2r0"] * 3

    def test_failed_member_is_never_a_donor(self, store: Store) -> None:
        crew = Crew(store, population=2, algorithm=TRUNCATION, rounds=9)
        crew.train(0.9, member=0)
        slow = crew.claim_of(1)
        crew.fail(crew.claim_of(0))
        crew.report(slow, 0.1)
        assert crew.open(1).parent == "m1r0"
        assert crew.open(0).parent == "m1r0"

    def test_failed_member_keeps_what_it_had_started_from(self, store: Store, home: Store) -> None:
        crew = Crew(store, population=1, rounds=5)
        home.use_algorithm(crew.id, TRUNCATION)
        report = crew.report(crew.claim(), 0.9)
        crew.fail(crew.claim())
        assert crew.status().state is StudyState.FAILED
        store.resume(crew.id)
        job = crew.open(0)
        assert (job.id, job.parent, job.parent_checkpoint) == ("m0r2", "m0r0", report.checkpoint)

    def test_study_has_failed_when_nobody_is_healthy_or_may_become_so(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=3, algorithm=TRUNCATION)
        crew.fail(crew.claim_of(0))
        assert crew.status().state is StudyState.OPEN
        lease = crew.claim()
        crew.fail(lease, RETURNED)
        assert crew.status().state is StudyState.OPEN
        crew.fail(crew.claim_of(1))
        assert crew.status().state is StudyState.FAILED
        assert crew.nothing_to_claim()
        store.resume(crew.id)
        assert crew.status().state is StudyState.OPEN
        jobs = [crew.open(member) for member in (0, 1)]
        assert [(job.id, job.parent) for job in jobs] == [("m0r1", None), ("m1r1", None)]
        assert all(job.reason for job in jobs)
        crew.run()
        assert crew.status().state is StudyState.FINISHED

    def test_study_that_failed_in_its_last_round_needs_more_rounds(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=1, algorithm=TRUNCATION)
        crew.fail(crew.claim())
        store.resume(crew.id)
        assert crew.status().state is StudyState.FAILED
        assert crew.nothing_to_claim()
        store.extend(crew.id, rounds=2)
        store.resume(crew.id)
        assert crew.train(0.5) == "m0r1"

    def test_member_without_a_sound_ancestor_starts_afresh(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=3)
        crew.train(0.5)
        crew.fail(crew.claim(), Failure(FailureKind.DAMAGED, "all ancestors are damaged"))
        assert store.job(crew.id, JobId(0, 1)).parent == "m0r0"
        store.resume(crew.id)
        assert crew.open(0).parent is None

    def test_algorithm_may_give_a_failed_member_up(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=3, algorithm=RandomSearch())
        crew.fail(crew.claim_of(0))
        assert store.job(crew.id, JobId(0, 1)).state is JobState.CANCELLED
        assert crew.status().counts.get(JobState.CANCELLED) == 1
        assert crew.member(0).open is None
        crew.run()
        assert crew.status().state is StudyState.FINISHED
        assert crew.status().counts.get(JobState.CANCELLED) == 1
        assert crew.status().counts.get(JobState.DONE) == 3

    def test_failure_in_the_last_round_ends_the_member(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=1, algorithm=TRUNCATION)
        crew.train(0.5, member=0)
        crew.fail(crew.claim_of(1))
        status = crew.status()
        assert (status.state, status.best) == (StudyState.FINISHED, "m0r0")
        assert status.counts.get(JobState.CANCELLED, 0) == 0

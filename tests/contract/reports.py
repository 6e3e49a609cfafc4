"""Reports: the log grows by one job, once, whole, and the next job is open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from evolvent.core.algorithms import ALGORITHMS, PBT, RandomSearch
from evolvent.core.exploit import CopyBest
from evolvent.core.explore import NoExplore
from evolvent.core.population import Population
from evolvent.core.records import Cause, Copy, Decision, JobId, JobState, Keep, Member
from evolvent.errors import CheckpointMissing, DecisionError, StoreError
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.protocol import Store
from evolvent.store.records import Point, Report, StudyState
from tests.contract.crew import LONG, RETURNED, Crew

COPY_BEST = PBT(exploit=CopyBest(), explore=NoExplore())
M0R0 = JobId(0, 0)


class ReportsContract:
    """Reports and what they set off."""

    @pytest.fixture
    def told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let a store that passes all on tell of the algorithms of these tests."""
        for kind in (_Broken, _CopyZero, _Failing, _Watching):
            monkeypatch.setitem(ALGORITHMS, kind.__name__, kind)

    def test_reported_job_is_in_the_log_with_all_it_had(self, store: Store) -> None:
        crew = Crew(store, population=1)
        lease = crew.claim("w7")
        report = Report(0.5, {"accuracy": 0.5, "loss": 2.0}, crew.save())
        store.report(lease, report)
        job = store.job(crew.id, M0R0)
        assert (job.state, job.score, job.metrics) == (JobState.DONE, 0.5, report.metrics)
        assert (job.checkpoint, job.attempt, job.worker) == (report.checkpoint, 1, "w7")
        assert job.hyperparameters == lease.job.hyperparameters
        assert (job.reason, job.error) == (lease.job.reason, None)
        assert job.started_at is not None
        assert job.finished_at is not None
        assert job.started_at <= job.finished_at == crew.status().changed_at

    def test_member_goes_on_from_its_own_checkpoint(self, store: Store) -> None:
        crew = Crew(store, population=1)
        report = crew.report(crew.claim(), 0.5)
        job = crew.open(0)
        assert (job.id, job.state, job.attempt) == ("m0r1", JobState.QUEUED, 0)
        assert (job.parent, job.parent_checkpoint) == (M0R0, report.checkpoint)
        assert job.hyperparameters == store.job(crew.id, M0R0).hyperparameters
        assert (job.worker, job.started_at, job.error) == (None, None, None)

    def test_repeated_report_changes_nothing(self, store: Store) -> None:
        crew = Crew(store, population=2)
        lease = crew.claim()
        store.heartbeat(lease, lease_s=LONG, points=[Point(1, {"loss": 2.0})])
        report = crew.report(lease, 0.5, [Point(2, {"loss": 1.0})])
        before, status = crew.log(), crew.status()
        store.report(lease, report)
        assert (crew.log(), crew.status()) == (before, status)
        assert len(store.points(crew.id, M0R0)) == 2
        crew.train(0.25)
        running = crew.claim()
        before = crew.log()
        store.report(lease, report)
        assert crew.log() == before
        assert running.job.id == "m0r1"
        crew.check_disk()

    def test_report_without_its_checkpoint_can_be_repeated_with_it(
        self, store: Store, home: Store
    ) -> None:
        crew = Crew(store, population=1)
        lease = crew.claim()
        address = crew.save("lost")
        kept = home.checkpoints(crew.id)
        assert isinstance(kept, LocalCheckpoints)
        kept.discard([address])
        before = crew.log()
        with pytest.raises(CheckpointMissing, match=address):
            store.report(lease, Report(0.5, {}, address, [Point(1, {"loss": 1.0})]))
        assert crew.log() == before
        assert crew.save("lost") == address
        store.report(lease, Report(0.5, {}, address, [Point(1, {"loss": 1.0})]))
        assert store.job(crew.id, M0R0).checkpoint == address
        assert store.points(crew.id, M0R0) == [Point(1, {"loss": 1.0})]

    @pytest.mark.usefixtures("told")
    def test_claim_that_cannot_be_decided_changes_nothing(self, store: Store, home: Store) -> None:
        crew = Crew(store, population=1)
        report = crew.report(crew.claim(), 0.5)
        before = store.jobs(crew.id)
        home.use_algorithm(crew.id, _Broken())
        with pytest.raises((ZeroDivisionError, StoreError)):
            crew.claim()
        assert store.jobs(crew.id) == before
        home.use_algorithm(crew.id, RandomSearch())
        assert crew.claim().job.parent_checkpoint == report.checkpoint

    @pytest.mark.usefixtures("told")
    def test_report_that_cannot_be_decided_changes_nothing(self, store: Store, home: Store) -> None:
        crew = Crew(store, population=1, synchronous=True)
        lease = crew.claim()
        before = crew.log()
        report = Report(0.5, {}, crew.save(), [Point(1, {"loss": 1.0})])
        home.use_algorithm(crew.id, _Broken())
        with pytest.raises((ZeroDivisionError, StoreError)):
            store.report(lease, report)
        assert crew.log() == before
        assert crew.status().best is None
        assert store.points(crew.id, M0R0) == []
        home.use_algorithm(crew.id, RandomSearch())
        store.report(lease, report)
        assert crew.status().best == M0R0
        assert crew.open(0).parent_checkpoint == report.checkpoint

    @pytest.mark.usefixtures("told")
    @pytest.mark.parametrize("synchronous", [False, True])
    @pytest.mark.parametrize("stopped", [False, True])
    def test_decision_that_fails_stops_the_study_and_is_taken_once_it_is_mended(
        self, store: Store, home: Store, synchronous: bool, stopped: bool
    ) -> None:
        crew = Crew(store, population=2, synchronous=synchronous)
        reports = [crew.report(crew.claim_of(0), 0.5)]
        home.use_algorithm(crew.id, _Failing())
        reports.append(crew.report(crew.claim_of(1), 0.25))
        assert crew.nothing_to_claim()
        status = crew.status()
        assert (status.state, status.stopped_by) == (StudyState.STOPPED, "decision")
        assert status.stopped == _Failing.MESSAGE
        done = store.jobs(crew.id, states=[JobState.DONE])
        assert [job.score for job in done] == [0.5, 0.25]
        if stopped:  # its members are still to be decided for
            store.stop(crew.id, reason="by hand, too")
        home.use_algorithm(crew.id, RandomSearch())
        store.resume(crew.id)
        jobs = sorted((crew.claim().job for _ in range(2)), key=lambda job: job.id)
        assert [(job.id, job.attempt) for job in jobs] == [("m0r1", 1), ("m1r1", 1)]
        assert [job.parent_checkpoint for job in jobs] == [it.checkpoint for it in reports]
        assert crew.status().stopped is None

    @pytest.mark.usefixtures("told")
    def test_decision_that_fails_again_keeps_the_study_stopped(
        self, store: Store, home: Store
    ) -> None:
        crew = Crew(store, population=1, synchronous=True)
        home.use_algorithm(crew.id, _Failing())
        crew.report(crew.claim(), 0.5)
        with pytest.raises((DecisionError, StoreError)):
            store.resume(crew.id)
        assert crew.status().stopped_by == "decision"

    @pytest.mark.usefixtures("told")
    def test_algorithm_of_this_process_decides(self, store: Store, home: Store) -> None:
        crew = Crew(store, population=2, rounds=3)
        home.use_algorithm(crew.id, _CopyZero())
        crew.train(0.5, member=0)
        crew.train(0.5, member=1)
        job = crew.claim_of(1).job
        assert (job.parent, job.hyperparameters) == (M0R0, {"lr": 0.125})
        assert job.reason.startswith("because ")  # the rest is nothing that a database can hold

    @pytest.mark.usefixtures("told")
    def test_algorithm_sees_the_state_of_all_and_the_whole_log(
        self, store: Store, home: Store
    ) -> None:
        crew = Crew(store, population=3, rounds=9, algorithm=COPY_BEST)
        slow = crew.claim_of(2)
        crew.train(0.5, member=0)
        crew.train(0.4, member=1)
        crew.train(0.3, member=0)
        crew.train(0.6, member=1)
        crew.train(0.7, member=0)
        watching = _Watching()
        watching.seen.clear()
        home.use_algorithm(crew.id, watching)
        crew.claim_of(1)
        population, scores, log = watching.seen[-1]
        # Member 0 is a round ahead: it counts with the worse of its last two.
        assert [(m.id, m.round, m.score) for m in population] == [(0, 2, 0.3), (1, 1, 0.6)]
        assert scores == [[0.5, 0.3], [0.4, 0.6]]
        assert log == ["m0r0", "m1r0", "m0r1", "m1r1", "m0r2"]
        crew.fail(slow)
        population, scores, log = watching.seen[-1]
        # Member 1 is a round ahead of member 2, member 0 more than that.
        assert [m.score for m in population] == [0.7, 0.4, None]
        assert scores == [[0.6, 0.7], [0.4], []]
        assert log[-1] == "m2r0"

    def test_copy_starts_from_the_scored_checkpoint_of_the_donor(self, store: Store) -> None:
        crew = Crew(store, population=2, algorithm=COPY_BEST)
        scored = crew.report(crew.claim_of(0), 0.9)
        donor = crew.claim_of(1)
        assert donor.job.id == "m1r0"
        crew.report(donor, 0.1)
        going_on = crew.claim_of(0)
        lease = crew.claim_of(1)
        job = lease.job
        assert (job.id, job.parent, job.donor) == ("m1r1", M0R0, 0)
        assert job.parent_checkpoint == scored.checkpoint
        assert job.hyperparameters == store.job(crew.id, M0R0).hyperparameters
        crew.report(going_on, 0.8)
        assert crew.open(1) == job
        crew.fail(lease, RETURNED)
        assert crew.claim_of(1).job.parent_checkpoint == scored.checkpoint

    def test_asynchronous_members_decide_when_their_round_begins(self, store: Store) -> None:
        crew = Crew(store, population=3, rounds=9, algorithm=COPY_BEST)
        for member, score in enumerate((0.5, 0.7, 0.1)):
            crew.train(score, member=member)
            job = crew.open(member)
            assert (job.cause, job.parent) == (Cause.UNDECIDED, JobId(member, 0))
            assert job.hyperparameters == store.job(crew.id, JobId(member, 0)).hyperparameters
        first, second = crew.claim_of(2), crew.claim_of(0)
        assert [lease.job.donor for lease in (first, second)] == [1, 1]
        crew.report(second, 0.9)
        assert crew.open(2) == first.job
        crew.check_disk()

    def test_who_is_a_round_ahead_counts_with_the_worse_of_two(self, store: Store) -> None:
        crew = Crew(store, population=3, rounds=9, algorithm=COPY_BEST)
        last = crew.claim_of(2)
        crew.train(0.5, member=0)
        crew.train(0.7, member=1)
        crew.train(0.9, member=0)  # it has copied
        own = crew.claim_of(1)
        assert (own.job.parent, own.job.donor) == ("m1r0", None)
        crew.train(0.95, member=0)
        crew.report(last, 0.6)
        # Two rounds ahead is more than others come in the same sweep: that is a reason to copy.
        assert crew.claim_of(2).job.parent == "m0r2"
        crew.report(own, 0.1)
        # Of member 1 it is one ahead now, and counts with 0.9; it is copied as it is.
        late = crew.claim_of(1).job
        assert (late.parent, "0.9" in late.reason) == ("m0r2", True)
        crew.check_disk()

    def test_donor_a_round_ahead_that_had_failed_before_it_is_one(self, store: Store) -> None:
        crew = Crew(store, population=3, rounds=2, algorithm=COPY_BEST)
        last = crew.claim_of(2)
        crew.fail(crew.claim_of(0))
        crew.train(0.5, member=1)
        crew.train(0.9, member=0)  # it has copied member 1
        crew.fail(crew.claim_of(1))
        crew.fail(last)
        assert crew.open(2).parent == "m0r1"
        crew.check_disk()

    def test_decision_stays_when_the_job_is_given_out_again(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=9, algorithm=COPY_BEST)
        crew.train(0.5, member=0)
        crew.train(0.1, member=1)
        lost = crew.store.claim(crew.id, worker="w1", lease_s=-1.0, prefer=1)
        assert lost is not None
        crew.train(0.9, member=0)
        again = crew.claim_of(1)
        assert (again.job.parent, again.attempt) == ("m0r0", 2)
        assert again.job.reason == lost.job.reason
        crew.check_disk()

    def test_member_that_copied_can_be_copied_until_it_reports_again(self, store: Store) -> None:
        crew = Crew(store, population=3, rounds=9, algorithm=COPY_BEST)
        crew.claim_of(2)
        crew.train(0.5, member=0)
        saved = crew.report(crew.claim_of(1), 0.4)
        assert crew.claim_of(1).job.donor == 0
        lease = crew.claim_of(0)
        assert lease.job.donor is None
        crew.report(lease, 0.3)
        copying = crew.claim_of(0)
        assert (copying.job.parent, copying.job.parent_checkpoint) == ("m1r0", saved.checkpoint)
        crew.check_disk()

    def test_donor_whose_checkpoint_is_gone_is_none(self, store: Store, home: Store) -> None:
        crew = Crew(store, population=3, rounds=9, algorithm=COPY_BEST)
        crew.train(0.1, member=0)
        crew.train(0.5, member=1)
        gone = crew.report(crew.claim_of(2), 0.9)
        kept = home.checkpoints(crew.id)
        assert isinstance(kept, LocalCheckpoints)
        kept.discard([gone.checkpoint])  # as when an import came without it
        assert store.claim(crew.id, worker="w1", lease_s=LONG).job.parent == "m1r0"  # type: ignore[union-attr]  # there is one

    @pytest.mark.usefixtures("told")
    def test_member_that_copies_itself_goes_on_as_one_that_copies_nobody(
        self, store: Store, home: Store
    ) -> None:
        crew = Crew(store, population=1, rounds=9)
        home.use_algorithm(crew.id, _CopyZero())
        crew.train(0.5)
        lease = crew.claim()
        assert (lease.job.parent, lease.job.cause) == ("m0r0", Cause.COPIED)
        saved = crew.report(lease, 0.5)
        kept = home.checkpoints(crew.id)
        assert isinstance(kept, LocalCheckpoints)
        kept.discard([saved.checkpoint])  # then its worker falls back to an older one
        job = crew.claim().job
        assert (job.parent, job.parent_checkpoint) == ("m0r1", saved.checkpoint)
        assert crew.open(0).parent == "m0r1"

    def test_best_is_the_highest_score_then_the_lowest_round_then_member(
        self, store: Store
    ) -> None:
        crew = Crew(store, population=3, rounds=2)
        late = crew.claim_of(0)
        crew.train(0.5, member=2)
        assert crew.status().best == "m2r0"
        middle = crew.claim_of(1)
        ahead = crew.claim_of(2)
        crew.report(ahead, 0.5)
        assert crew.status().best == "m2r0"
        crew.report(middle, 0.5)
        assert crew.status().best == "m1r0"
        crew.report(late, 0.5)
        assert (crew.status().best, crew.status().best_score) == ("m0r0", 0.5)
        crew.train(0.625, member=0)
        assert (crew.status().best, crew.status().best_score) == ("m0r1", 0.625)
        crew.run(lambda _: 0.25)
        assert crew.status().best == "m0r1"

    def test_lower_round_makes_the_best_before_the_lower_member(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=2)
        slow = crew.claim_of(1)
        crew.train(0.25, member=0)
        crew.train(0.5, member=0)
        assert crew.status().best == "m0r1"
        crew.report(slow, 0.5)
        assert crew.status().best == "m1r0"

    def test_checkpoint_of_the_best_outlives_its_member(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=5)
        best = crew.report(crew.claim(), 0.9)
        crew.run(lambda _: 0.1)
        assert crew.status().state is StudyState.FINISHED
        assert store.checkpoints(crew.id).verify(best.checkpoint).is_dir()
        assert len(crew.on_disk()) == 2

    def test_equal_checkpoints_are_kept_while_any_member_needs_them(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=3)
        leases = [crew.claim(), crew.claim()]
        address = crew.report(leases[0], 0.1, text="same").checkpoint
        assert crew.report(leases[1], 0.1, text="same").checkpoint == address
        crew.train(0.2, member=0)
        assert address in store.checkpoints(crew.id)
        crew.train(0.2, member=1)
        assert address not in store.checkpoints(crew.id)

    def test_members_end_when_their_rounds_are_done(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=2)
        crew.run()
        assert crew.nothing_to_claim()
        status = crew.status()
        assert (status.state, status.counts.get(JobState.DONE)) == (StudyState.FINISHED, 4)
        assert [member.open for member in store.members(crew.id)] == [None, None]
        newest = [member.newest for member in store.members(crew.id)]
        assert [job.id for job in newest if job is not None] == ["m0r1", "m1r1"]

    def test_reached_target_stops_the_study(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=3, metric="loss", mode="min", target=0.5)
        running = crew.claim_of(1)
        crew.train(-0.625, member=0)
        assert crew.status().state is StudyState.OPEN
        crew.train(-0.5, member=0)
        assert crew.status().state is StudyState.STOPPED
        assert "target" in (crew.status().stopped or "")
        assert crew.nothing_to_claim()
        crew.report(running, -0.25)
        assert crew.status().best == "m1r0"


@dataclass(frozen=True)
class _Broken:
    """An algorithm whose code is wrong."""

    def decide(self, *_: object, **__: object) -> Decision:
        raise ZeroDivisionError

    def validate(self, *_: object, **__: object) -> None: ...


@dataclass(frozen=True)
class _Failing(_Broken):
    """An algorithm with code of its user's that fails."""

    MESSAGE: ClassVar[str] = "step() raised KeyError: 'lr'\n  in line 3"

    def decide(self, *_: object, **__: object) -> Decision:
        raise DecisionError(self.MESSAGE)


@dataclass(frozen=True)
class _CopyZero:
    """An algorithm that only its own process knows."""

    def decide(self, *_: object, **__: object) -> Decision:
        return Copy(0, {"lr": 0.125}, "because \0\ud800")

    def validate(self, *_: object, **__: object) -> None: ...


@dataclass(frozen=True)
class _Watching:
    """An algorithm that notes what it is shown."""

    seen: ClassVar[list[tuple[list[Member], list[list[float]], list[str]]]] = []

    def decide(self, me: Member, population: Population, **_: object) -> Decision:
        history = population.history
        scores = [list(history.scores(member.id, 2)) for member in population]
        self.seen.append((list(population), scores, [job.id for job in history.jobs()]))
        return Keep(f"watches {me.id}")

    def validate(self, *_: object, **__: object) -> None: ...

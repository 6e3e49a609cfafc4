"""Control: stop and resume, more rounds, other targets, members given by hand."""

from __future__ import annotations

import pytest

from evolvent.core.algorithms import PBT
from evolvent.core.exploit import CopyBest, Truncation
from evolvent.core.explore import NoExplore
from evolvent.core.records import JobId, JobState
from evolvent.errors import CheckpointDamaged, CheckpointMissing, ConfigError, UnknownJob
from evolvent.store.protocol import Store
from evolvent.store.records import Report, StudyState
from tests.contract.crew import RETURNED, Crew

M0R0 = JobId(0, 0)


class ControlContract:
    """Stop, resume, extend, retarget, push, reparent."""

    def test_stopped_study_gives_out_nothing_but_takes_reports(self, store: Store) -> None:
        crew = Crew(store, population=2)
        lease = crew.claim()
        store.stop(crew.id, reason="by hand")
        status = crew.status()
        assert (status.state, status.stopped) == (StudyState.STOPPED, "by hand")
        assert crew.nothing_to_claim()
        crew.report(lease, 0.5)
        assert crew.nothing_to_claim()
        store.resume(crew.id)
        assert (crew.status().state, crew.status().stopped) == (StudyState.OPEN, None)
        assert crew.claim().job.id == "m1r0"

    def test_resume_of_an_open_study_changes_nothing(self, store: Store) -> None:
        crew = Crew(store)
        before = crew.log()
        store.resume(crew.id)
        assert crew.log() == before

    def test_study_that_finishes_while_stopped_has_finished(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=1)
        lease = crew.claim()
        store.stop(crew.id, reason="by hand")
        crew.report(lease, 0.5)
        assert crew.status().state is StudyState.FINISHED

    def test_path_of_the_training_code_is_remembered(self, store: Store) -> None:
        crew = Crew(store)
        store.remember(crew.id, trainable="package.module:train")
        assert crew.status().record.trainable == "package.module:train"
        crew.train(0.5)

    def test_extended_study_goes_on(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=1, algorithm=PBT(Truncation(0.5), NoExplore()))
        crew.train(0.9, member=0)
        crew.train(0.1, member=1)
        assert crew.status().state is StudyState.FINISHED
        store.extend(crew.id, rounds=3)
        crew.check_disk()
        assert crew.status().state is StudyState.OPEN
        assert [crew.claim().job.parent for _ in range(2)] == [M0R0, M0R0]
        crew.check_disk()
        store.release(crew.id, worker="w0", failure=RETURNED)
        crew.run()
        assert crew.status().counts.get(JobState.DONE) == 6

    def test_members_of_an_extended_study_decide_against_the_same_snapshot(
        self, store: Store
    ) -> None:
        crew = Crew(store, population=2, rounds=1, algorithm=PBT(CopyBest(), NoExplore()))
        crew.run(lambda _: 0.5)
        store.extend(crew.id, rounds=2)
        crew.check_disk()
        assert [crew.claim().job.parent for _ in range(2)] == ["m1r0", "m0r0"]
        crew.check_disk()

    def test_extending_leaves_members_at_work_alone(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=2)
        crew.train(0.5, member=0)
        running = crew.claim_of(1)
        queued = crew.open(0)
        store.extend(crew.id, rounds=5)
        assert crew.open(0) == queued
        crew.report(running, 0.5)
        crew.run()
        assert crew.status().counts.get(JobState.DONE) == 10

    def test_rounds_can_be_taken_back_but_not_those_that_were_trained(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=9)
        crew.train(0.5)
        crew.train(0.5)
        for rounds in (1, 0):
            with pytest.raises(ConfigError, match=r"wanted 3 or more: so many are .* or given out"):
                store.extend(crew.id, rounds=rounds)
        assert crew.status().record.rounds == 9
        store.extend(crew.id, rounds=3)
        crew.run()
        assert crew.status().counts.get(JobState.DONE) == 3

    def test_study_stopped_at_its_target_stays_so_until_resumed(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=2, target=0.5)
        crew.train(0.75)
        store.extend(crew.id, rounds=3)
        assert crew.status().state is StudyState.STOPPED
        store.resume(crew.id)
        assert crew.train(0.25) == "m0r1"
        assert crew.status().state is StudyState.OPEN
        crew.train(0.625)
        assert crew.status().state in {StudyState.FINISHED, StudyState.STOPPED}

    def test_target_that_is_not_reached_any_more_opens_the_study(self, store: Store) -> None:
        for number, target in enumerate((0.875, None)):
            crew = Crew(store, name=str(number), population=1, rounds=9, target=0.5)
            crew.train(0.75)
            store.retarget(crew.id, target=0.625)
            assert crew.status().state is StudyState.STOPPED
            store.retarget(crew.id, target=target)
            assert crew.status().state is StudyState.OPEN
            assert crew.status().record.target == target
            assert crew.train(0.8125) == "m0r1"

    def test_study_stopped_by_hand_is_not_opened_by_a_target(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=9, target=0.5)
        store.stop(crew.id, reason="by hand")
        store.retarget(crew.id, target=0.75)
        assert crew.status().stopped == "by hand"

    def test_stop_by_hand_and_a_reached_target_do_not_mix(self, store: Store) -> None:
        first = Crew(store, name="first by hand", population=1, rounds=9, target=0.5)
        lease = first.claim()
        store.stop(first.id, reason="by hand")
        first.report(lease, 0.75)
        then = Crew(store, name="then by hand", population=1, rounds=9, target=0.5)
        then.train(0.75)
        store.stop(then.id, reason="by hand")
        for crew in (first, then):
            assert crew.status().stopped == "by hand"
            store.retarget(crew.id, target=None)
            assert crew.status().state is StudyState.STOPPED

    def test_new_target_counts_for_the_next_report(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=9)
        crew.train(0.5)
        store.retarget(crew.id, target=0.75)
        crew.train(0.625)
        assert crew.status().state is StudyState.OPEN
        crew.train(0.75)
        assert crew.status().state is StudyState.STOPPED

    def test_pushed_member_trains_from_the_first_round(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=2)
        crew.run()
        assert store.push(crew.id, {"lr": 0.25}) == "m2r0"
        assert store.push(crew.id, {}) == "m3r0"
        assert (crew.status().state, crew.status().members) == (StudyState.OPEN, 4)
        job = crew.open(2)
        assert (job.state, job.parent, job.hyperparameters["lr"]) == (JobState.QUEUED, None, 0.25)
        assert 0.1 <= float(job.hyperparameters["momentum"] or 0.0) <= 0.9
        assert "hand" in job.reason
        assert crew.status().record.population == 2
        crew.run()
        assert crew.status().counts.get(JobState.DONE) == 8

    def test_pushed_member_can_be_copied(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=3, algorithm=PBT(Truncation(0.5), NoExplore()))
        crew.train(0.5, member=0)
        store.push(crew.id, {"lr": 0.25})
        crew.train(0.9, member=2)
        crew.train(0.1, member=1)
        job = crew.claim_of(1).job
        assert (job.parent, job.hyperparameters["lr"]) == ("m2r0", 0.25)

    def test_member_that_was_trained_elsewhere_can_be_copied_at_once(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=3, algorithm=PBT(Truncation(0.5), NoExplore()))
        crew.train(0.5, member=0)
        done = crew.push_done(0.9)
        job = store.job(crew.id, JobId(2, 0))
        assert (job.state, job.score, job.attempt) == (JobState.DONE, 0.9, 1)
        assert (job.checkpoint, dict(job.metrics)) == (done.checkpoint, {"accuracy": 0.9})
        assert (job.worker, job.reason) == ("by hand", "given by hand, trained already")
        assert crew.status().best == "m2r0"
        assert crew.open(2).parent_checkpoint == done.checkpoint
        crew.train(0.1, member=1)
        lease = crew.claim_of(1)
        assert (lease.job.parent, lease.job.hyperparameters["lr"]) == ("m2r0", 0.25)
        crew.report(lease, 0.1)
        crew.run()
        assert crew.status().counts.get(JobState.DONE) == 9

    def test_member_that_was_trained_elsewhere_revives_the_failed(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=3, algorithm=PBT(CopyBest(), NoExplore()))
        crew.fail(crew.claim())
        assert crew.status().state is StudyState.FAILED
        crew.push_done(0.5)
        assert crew.status().state is StudyState.OPEN
        assert crew.open(0).parent == "m1r0"

    def test_member_that_was_trained_elsewhere_can_reach_the_target(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=3, target=0.75)
        crew.push_done(0.9)
        assert crew.status().state is StudyState.STOPPED
        assert "m2r0" in (crew.status().stopped or "")

    def test_round_without_its_checkpoint_is_not_pushed(self, store: Store) -> None:
        crew = Crew(store, population=2)
        before = crew.log()
        with pytest.raises(CheckpointMissing, match="m2r0"):
            store.push(crew.id, {"lr": 0.25}, done=Report(0.9, {"accuracy": 0.9}, "0" * 64))
        assert (crew.log(), crew.status().members) == (before, 2)
        crew.train(0.5)

    def test_claimed_job_can_start_from_an_ancestor_instead(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=5)
        first = crew.report(crew.claim(), 0.9)
        crew.train(0.1)
        lease = crew.claim("w5")
        moved = store.reparent(lease, parent=M0R0, reason="checkpoint of m0r1 was damaged")
        crew.unusable.add(JobId(0, 1))
        crew.check_disk()
        assert (moved.study, moved.worker, moved.attempt) == (crew.id, "w5", lease.attempt)
        job = moved.job
        assert (job.parent, job.parent_checkpoint) == (M0R0, first.checkpoint)
        assert job.reason.startswith(lease.job.reason)
        assert job.reason.endswith("checkpoint of m0r1 was damaged")
        assert crew.open(0) == job
        crew.report(moved, 0.2)
        assert [row.id for row in store.lineage(crew.id, JobId(0, 2))] == ["m0r0", "m0r2"]

    def test_job_that_was_moved_to_an_ancestor_stays_there_when_it_is_requeued(
        self, store: Store
    ) -> None:
        crew = Crew(store, population=1, rounds=5)
        crew.train(0.9)
        crew.train(0.1)
        store.reparent(crew.claim(lease_s=-1.0), parent=M0R0, reason="damaged")
        assert crew.claim().job.parent == M0R0

    def test_job_cannot_start_from_what_is_not_there(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=5)
        for score in (0.1, 0.2, 0.3):
            crew.train(score)
        lease = crew.claim()
        before = crew.log()
        with pytest.raises(CheckpointMissing, match="m0r0"):
            store.reparent(lease, parent=M0R0, reason="damaged")
        with pytest.raises(UnknownJob, match="m7r0"):
            store.reparent(lease, parent=JobId(7, 0), reason="damaged")
        assert crew.log() == before

    def test_damage_is_found_by_the_store_s_checkpoints(self, store: Store, home: Store) -> None:
        crew = Crew(store, population=1)
        report = crew.report(crew.claim(), 0.5)
        path = home.checkpoints(crew.id).path(report.checkpoint)
        (path / "weights").chmod(0o644)
        (path / "weights").write_text("other")
        with pytest.raises(CheckpointDamaged, match="weights"):
            store.checkpoints(crew.id).verify(report.checkpoint)

"""Whole studies: what is dumped from one store and restored in another is the same study."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evolvent.core.algorithms import PBT, Algorithm
from evolvent.core.exploit import CopyBest, TTest
from evolvent.core.explore import NoExplore, Perturb
from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.errors import CheckpointMissing, StudyExists, UnknownJob, UnknownStudy
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.dump import Chosen
from evolvent.store.protocol import Store
from evolvent.store.records import Point, StudyState
from tests.contract.crew import LONG, RETURNED, Crew
from tests.contract.moving import (
    TOURNAMENT,
    assert_same,
    assert_same_log,
    chequered,
    contents,
    eventful,
    moved,
    sealed,
)
from tests.contract.reference.store import ReferenceStore
from tests.contract.rounds import often_failing

ALGORITHMS = [TOURNAMENT, PBT(exploit=TTest(3, 0.5), explore=Perturb())]


class ArchiveContract:
    """Dump and restore."""

    @pytest.mark.parametrize("synchronous", [True, False])
    @pytest.mark.parametrize("algorithm", ALGORITHMS, ids=["tournament", "t-test"])
    def test_moved_half_way_a_study_ends_as_if_it_had_stayed(
        self, store: Store, tmp_path: Path, algorithm: Algorithm, synchronous: bool
    ) -> None:
        crew = Crew(store, algorithm=algorithm, population=4, rounds=6, synchronous=synchronous)
        for _ in range(11):
            crew.finish(crew.claim(), often_failing)
        there = ReferenceStore(tmp_path / "reference")
        out = moved(crew, there)
        back = moved(out, store, name="back")
        for stage in (crew, out, back):
            assert_same(stage, crew)
        for stage in (crew, out, back):
            stage.run(often_failing)
        assert crew.log() == out.log() == back.log()
        assert len(crew.log()) == 24

    def test_everything_that_the_log_says_arrives(self, store: Store, tmp_path: Path) -> None:
        crew = eventful(store)
        there = ReferenceStore(tmp_path / "reference")
        out = moved(crew, there)
        back = moved(out, store, name="back")
        assert_same(out, crew)
        assert_same(back, crew)
        job = back.store.job(back.id, JobId(0, 0))
        assert math.isnan(job.metrics["nan"])
        assert job.metrics["inf"] == math.inf
        assert [p.step for p in back.store.points(back.id, job.id)] == [1, 2]
        assert back.store.pins(back.id) == [JobId(0, 0)]
        back.check_disk()

    def test_what_a_member_left_for_a_copy_comes_along(self, store: Store, tmp_path: Path) -> None:
        crew = Crew(store, population=2, rounds=9, algorithm=PBT(CopyBest(), NoExplore()))
        crew.train(0.1, member=0)
        crew.train(0.5, member=1)
        copying = crew.claim_of(0).job
        out = moved(crew, ReferenceStore(tmp_path / "reference"))
        back = moved(out, store, name="back")
        for stage in (out, back):
            stage.check_disk()
            assert len(stage.on_disk()) == 2
            assert stage.claim_of(0).job.reason == copying.reason

    def test_running_job_is_queued_again_as_if_it_had_never_begun(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=2)
        crew.fail(crew.claim_of(0), RETURNED)
        running = crew.claim_of(0, "w3")
        store.heartbeat(running, lease_s=LONG, points=[Point(1, {"loss": 0.5})])
        copy = moved(crew, store, name="copy")
        job = copy.open(0)
        assert (job.state, job.attempt, job.worker) == (JobState.QUEUED, 1, None)
        assert job.started_at is None
        assert store.points(copy.id, job.id) == []
        assert [f.attempt for f in store.failures(copy.id)] == [1]
        again = copy.claim_of(0)
        assert again.attempt == 2
        assert store.points(copy.id, job.id) == []
        assert store.job(crew.id, job.id).state is JobState.RUNNING
        store.heartbeat(running, lease_s=LONG)

    def test_dump_stays_as_it_was_while_the_study_goes_on(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=8)
        for _ in range(4):
            crew.train(0.5)
        before = crew.on_disk()
        with store.dump(crew.id, checkpoints="kept") as (dump, held):
            for _ in range(6):
                crew.train(0.7)
            store.collect(crew.id)
            assert before.isdisjoint(crew.on_disk())
            assert [job.id for job in dump.jobs] == ["m0r0", "m1r0", "m0r1", "m1r1"]
            assert set(held.directories) == before
            texts = [(path / "weights").read_text() for path in held.directories.values()]
            assert len(set(texts)) == 3
        assert not any(path.exists() for path in held.directories.values())
        crew.check_disk()

    @pytest.mark.parametrize(
        ("which", "jobs"),
        [
            ("none", []),
            ("best", ["m0r1"]),
            ("pinned", ["m1r0"]),
            ("kept", ["m0r1", "m0r2", "m1r0", "m1r2"]),
            ([JobId(1, 2), JobId(0, 2)], ["m0r2", "m1r2"]),
        ],
        ids=["none", "best", "pinned", "kept", "jobs"],
    )
    def test_checkpoints_can_be_chosen(self, store: Store, which: Chosen, jobs: list[str]) -> None:
        crew = chequered(store)
        with store.dump(crew.id, checkpoints=which) as (_, held):
            assert sorted(held.addresses) == jobs
            named = {job: store.job(crew.id, job).checkpoint for job in held.addresses}
            assert held.addresses == named
            assert set(held.directories) == set(named.values())

    def test_checkpoint_that_is_gone_is_named(self, store: Store) -> None:
        crew = chequered(store)
        gone = store.job(crew.id, JobId(0, 0)).checkpoint
        with (
            pytest.raises(CheckpointMissing, match=f"m0r0 .*{gone}"),
            store.dump(crew.id, checkpoints=[JobId(0, 1), JobId(0, 0)]),
        ):
            pass
        for job, there in ((JobId(0, 3), "jobs up to m0r2"), (JobId(9, 9), "members 0 to 1")):
            with (
                pytest.raises(UnknownJob, match=f"{job}, .*{there}"),
                store.dump(crew.id, checkpoints=[job]),
            ):
                pass

    def test_study_that_is_not_there_cannot_be_dumped(self, store: Store) -> None:
        with pytest.raises(UnknownStudy), store.dump(404, checkpoints="none"):
            pass

    def test_study_without_what_it_needs_is_stopped_and_refuses_to_go_on(
        self, store: Store
    ) -> None:
        crew = chequered(store)
        copy = moved(crew, store, name="copy", which="best")
        assert_same_log(copy, crew)
        status = copy.status()
        assert status.state is StudyState.STOPPED
        assert status.stopped == "imported without the checkpoints of m0r2, m1r2"
        assert copy.nothing_to_claim()
        store.stop(copy.id, reason="lunch")
        for _ in range(2):
            with pytest.raises(CheckpointMissing, match=r"'copy' .*m0r2, m1r2.*kept"):
                store.resume(copy.id)
        assert copy.nothing_to_claim()

    def test_study_goes_on_once_it_has_what_it_needs(self, store: Store) -> None:
        crew = chequered(store)
        copy = moved(crew, store, name="copy", which="none")
        with store.dump(crew.id, checkpoints="kept") as (_, held):
            sealed(held.directories)(store.checkpoints(copy.id))
        store.resume(copy.id)
        copy.run()
        crew.run()
        assert copy.log() == crew.log()

    def test_finished_study_needs_no_checkpoints_until_it_is_extended(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=2)
        crew.run()
        copy = moved(crew, store, name="copy", which="none")
        store.resume(copy.id)
        assert copy.status().state is StudyState.FINISHED
        store.extend(copy.id, rounds=3)
        assert copy.nothing_to_claim()
        with pytest.raises(CheckpointMissing, match="m0r1, m1r1"):
            store.resume(copy.id)

    def test_reason_of_a_stop_is_kept_beside_what_is_missing(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=9, target=0.9)
        crew.train(0.95)
        copy = moved(crew, store, name="copy", which="none")
        reason = "m0r0 reached the target; imported without the checkpoints of m0r0"
        assert copy.status().stopped == reason
        store.retarget(copy.id, target=None)
        assert copy.nothing_to_claim()
        assert moved(copy, store, name="again", which="none").status().stopped == reason

    def test_stop_at_a_target_arrives_as_such(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=9, target=0.9)
        crew.train(0.95)
        copy = moved(crew, store, name="copy")
        assert copy.status().stopped == "m0r0 reached the target"
        store.retarget(copy.id, target=None)
        assert copy.train(0.5) == "m0r1"

    def test_stop_by_hand_arrives_as_such(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=9)
        store.stop(crew.id, reason="lunch")
        copy = moved(crew, store, name="copy")
        assert copy.status().stopped == "lunch"
        store.retarget(copy.id, target=None)
        assert copy.nothing_to_claim()
        store.resume(copy.id)
        copy.claim()

    def test_taken_name_leaves_nothing(self, store: Store, home: Store) -> None:
        crew = chequered(store)
        before = contents(home, crew.id)
        with pytest.raises(StudyExists, match="digits"):
            moved(crew, store)
        assert contents(home, crew.id) == before

    def test_error_half_way_leaves_nothing(self, store: Store, home: Store) -> None:
        crew = chequered(store)
        before = contents(home, crew.id)

        def broken(jobs: Any) -> Iterator[JobRecord]:
            yield next(iter(jobs))
            raise RuntimeError("torn")

        def spoiled(checkpoints: LocalCheckpoints) -> None:
            staged = checkpoints.stage("half")
            (staged / "weights").write_text("half")
            checkpoints.seal(staged)
            raise RuntimeError("torn")

        with store.dump(crew.id, checkpoints="none") as (dump, _):
            new = replace(dump, record=replace(dump.record, name="new"))
            torn = replace(new, jobs=broken(new.jobs))
            with pytest.raises(RuntimeError, match="torn"):
                store.restore(torn, save=lambda _: None)
        with store.dump(crew.id, checkpoints="none") as (dump, _):
            new = replace(dump, record=replace(dump.record, name="new"))
            with pytest.raises(RuntimeError, match="torn"):
                store.restore(new, save=spoiled)
        assert contents(home, crew.id) == before
        moved(crew, store, name="new").run()

    def test_report_of_a_job_that_runs_elsewhere_does_not_count_here(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=3)
        running = crew.claim("w7")
        copy = moved(crew, store, name="copy")
        copy.train(0.25)
        crew.report(running, 0.75)
        assert store.job(copy.id, JobId(0, 0)).score == 0.25
        assert store.job(crew.id, JobId(0, 0)).score == 0.75

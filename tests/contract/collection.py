"""Pins and collection: what is kept on disk, and what goes."""

from __future__ import annotations

import pytest

from evolvent.core.algorithms import PBT
from evolvent.core.exploit import BinaryTournament
from evolvent.core.records import JobId
from evolvent.errors import CheckpointMissing, LeaseLost, UnknownJob
from evolvent.store.protocol import Store
from evolvent.store.records import Report
from tests.contract.crew import LONG, OVER, Crew
from tests.contract.rounds import often_failing

M0R0, M0R1 = JobId(0, 0), JobId(0, 1)


class CollectionContract:
    """Pins and collection."""

    def test_disk_stays_bounded_whatever_members_do(self, store: Store) -> None:
        crew = Crew(store, population=6, rounds=8, algorithm=PBT(exploit=BinaryTournament()))
        held = []
        for worker in range(48):
            lease = store.claim(crew.id, worker=f"w{worker}", lease_s=LONG)
            if lease is not None:
                held.append(lease)
            if len(held) == 3 or lease is None:
                crew.finish(held.pop(worker % len(held)), often_failing)
            assert len(crew.on_disk()) <= 6 + 1
        for lease in held:
            crew.finish(lease, often_failing)
        assert len(crew.saved) > 20

    def test_pinned_checkpoint_stays_until_it_is_unpinned(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=9)
        report = crew.report(crew.claim(), 0.1)
        store.pin(crew.id, M0R0)
        store.pin(crew.id, M0R0)
        for _ in range(3):
            crew.train(0.5)
        assert store.pins(crew.id) == [M0R0]
        assert report.checkpoint in store.checkpoints(crew.id)
        store.collect(crew.id)
        crew.check_disk()
        store.unpin(crew.id, M0R0)
        assert store.pins(crew.id) == []
        assert report.checkpoint not in store.checkpoints(crew.id)
        store.unpin(crew.id, M0R0)
        store.unpin(crew.id, JobId(7, 7))
        crew.check_disk()

    def test_unpinned_checkpoint_stays_while_it_is_needed(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=9)
        crew.train(0.1)
        store.pin(crew.id, M0R0)
        store.unpin(crew.id, M0R0)
        crew.check_disk()
        assert len(crew.on_disk()) == 1

    def test_pins_are_listed_by_member_and_round(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=1)
        crew.run()
        for job in (JobId(1, 0), M0R0):
            store.pin(crew.id, job)
        assert store.pins(crew.id) == [M0R0, JobId(1, 0)]

    def test_only_done_jobs_whose_checkpoint_is_there_can_be_pinned(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=9)
        crew.train(0.1, member=0)
        crew.fail(crew.claim_of(1))
        for job in (M0R1, JobId(1, 0), JobId(9, 9)):
            with pytest.raises(UnknownJob, match=job):
                store.pin(crew.id, job)
        crew.train(0.2, member=0)
        with pytest.raises(CheckpointMissing, match="m0r0"):
            store.pin(crew.id, M0R0)
        assert store.pins(crew.id) == []

    def test_collection_removes_what_late_workers_left(self, store: Store, home: Store) -> None:
        crew = Crew(store, population=1, rounds=9)
        late = crew.claim(lease_s=OVER)
        crew.report(crew.claim(), 0.5)
        orphan = crew.save("x" * 1000)
        checkpoints = home.checkpoints(crew.id)
        half = checkpoints.stage("late")
        (half / "weights").write_text("y" * 500)
        with pytest.raises(LeaseLost):
            store.report(late, Report(0.5, {}, orphan))
        assert store.collect(crew.id) >= 1500
        assert orphan not in checkpoints
        assert not half.exists()
        crew.check_disk()
        assert store.collect(crew.id) == 0

    def test_collection_spares_what_running_jobs_are_about_to_report(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=9)
        saving, training = crew.claim(), crew.claim()
        address = crew.save()
        staged = store.checkpoints(crew.id).stage("m1r0")
        (staged / "weights").write_text("half of it")
        store.collect(crew.id)
        store.report(saving, Report(0.5, {}, address))
        (staged / "weights").write_text("all of it")
        store.report(training, Report(0.5, {}, store.checkpoints(crew.id).seal(staged)))

    def test_collection_keeps_what_every_member_goes_on_from(self, store: Store) -> None:
        crew = Crew(store, population=4, rounds=4, algorithm=PBT(exploit=BinaryTournament()))
        for _ in range(9):
            crew.finish(crew.claim(), often_failing)
        before = crew.on_disk()
        store.collect(crew.id)
        assert crew.on_disk() == before
        crew.run(often_failing)

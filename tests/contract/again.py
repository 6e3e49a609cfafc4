"""Calls made again with the same key, because an answer was lost: done once, told the same."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from threading import Barrier

import pytest

from evolvent.core.records import JobId, JobState
from evolvent.errors import ConfigError, LeaseLost
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.checkpoints.transfer import CheckpointWriter
from evolvent.store.dump import StudyDump
from evolvent.store.protocol import Store
from evolvent.store.records import Lease, Point
from evolvent.testing.populations import study_record
from tests.contract.crew import INVALID, LONG, LOST, OVER, RAISED, RETURNED, Crew, Reopen
from tests.contract.moving import sealed

KEY, OTHER = "6f1c7b0a", "0e8d2f55"


class AgainContract:
    """Keys."""

    def test_claim_made_again_gives_the_same_lease(self, store: Store, reopen: Reopen) -> None:
        crew = Crew(store, population=3)
        first = _claim(crew, KEY)
        again = _claim(crew, KEY, reopen())
        other = _claim(crew, OTHER)
        assert first is not None
        assert again == first
        assert other is not None
        assert (first.job.id, other.job.id) == ("m0r0", "m1r0")
        assert crew.status().counts.get(JobState.RUNNING) == 2
        crew.report(first, 0.5)

    def test_claim_made_again_when_its_lease_is_gone_is_a_new_one(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=1)
        first = store.claim(crew.id, worker="w0", lease_s=OVER, key=KEY)
        assert first is not None
        assert crew.claim("w1").job.id == first.job.id
        again = _claim(crew, KEY)
        assert again is not None
        assert (again.job.id, again.attempt) == ("m1r0", 1)
        crew.report(again, 0.5)
        assert _claim(crew, KEY) is None

    def test_study_made_again_is_the_same(self, store: Store) -> None:
        record = study_record(name="digits")
        number = store.create_study(record, key=KEY)
        assert store.create_study(record, key=KEY) == number
        assert [status.id for status in store.studies()] == [number]

    def test_push_made_again_adds_one_member(self, store: Store) -> None:
        crew = Crew(store, population=2)
        assert store.push(crew.id, {"lr": 0.25}, key=KEY) == "m2r0"
        assert store.push(crew.id, {"lr": 0.25}, key=KEY) == "m2r0"
        assert store.push(crew.id, {"lr": 0.25}, key=OTHER) == "m3r0"
        assert store.push(crew.id, {"lr": 0.25}) == "m4r0"
        assert crew.status().members == 5

    def test_points_sent_again_are_kept_once(self, store: Store) -> None:
        crew = Crew(store, population=1)
        lease = crew.claim()
        for key in (KEY, KEY, OTHER):
            store.heartbeat(lease, lease_s=LONG, points=[Point(1, {"loss": 0.5})], key=key)
        assert len(store.points(crew.id, lease.job.id)) == 2

    def test_points_sent_several_times_at_once_are_kept_once(self, store: Store) -> None:
        crew = Crew(store, population=1)
        lease = crew.claim()
        start, n_rounds = Barrier(4), 10

        def send(key: str) -> None:
            start.wait(60)
            store.heartbeat(lease, lease_s=LONG, points=[Point(1, {"loss": 0.5})], key=key)

        with ThreadPoolExecutor(4) as threads:
            for number in range(n_rounds):
                list(threads.map(send, [f"{KEY}-{number}"] * 4))
        assert len(store.points(crew.id, lease.job.id)) == n_rounds

    def test_heartbeat_made_again_when_its_lease_is_lost_is_answered_as_before(
        self, store: Store
    ) -> None:
        crew = Crew(store, population=1)
        lease = crew.claim()
        points = [Point(1, {"loss": 0.5})]
        store.heartbeat(lease, lease_s=OVER, points=points, key=KEY)
        crew.claim("w1")
        store.heartbeat(lease, lease_s=OVER, points=points, key=KEY)
        with pytest.raises(LeaseLost):
            store.heartbeat(lease, lease_s=OVER, points=points, key=OTHER)

    def test_failure_told_again_is_noted_once(self, store: Store) -> None:
        crew = Crew(store, population=2, max_failures=1)
        lease = crew.claim()
        for _ in range(2):
            store.fail(lease, RAISED, key=KEY)
        assert [failed.attempt for failed in store.failures(crew.id)] == [1]
        assert crew.open(0).attempt == 1

    def test_release_made_again_tells_how_many_there_were(self, store: Store) -> None:
        crew = Crew(store, population=3)
        for _ in range(2):
            crew.claim("dead")
        for _ in range(2):
            assert store.release(crew.id, worker="dead", failure=LOST, key=KEY) == 2
        assert len(store.failures(crew.id)) == 2

    def test_job_moved_again_has_the_reason_once(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=5)
        crew.report(crew.claim(), 0.9)
        crew.train(0.1)
        lease = crew.claim()
        moved = [
            store.reparent(lease, parent=JobId(0, 0), reason="damaged", key=KEY) for _ in range(2)
        ]
        assert moved[0] == moved[1]
        assert moved[0].job.reason.count("damaged") == 1

    def test_study_put_in_again_is_the_same(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=3)
        crew.train(0.5)
        numbers = []
        for _ in range(2):
            with store.dump(crew.id, checkpoints="kept") as (dump, held):
                copy = replace(dump, record=replace(dump.record, name="copy"))
                numbers.append(store.restore(copy, save=sealed(held.directories), key=KEY))
        assert numbers[0] == numbers[1]
        assert len(store.studies()) == 2

    def test_study_put_in_again_while_it_is_being_put_in_is_the_same(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=3)
        crew.train(0.5)
        ready, numbers = Barrier(2), []

        def put_in(dump: StudyDump, save: CheckpointWriter) -> int:
            def save_together(checkpoints: LocalCheckpoints) -> None:
                ready.wait(60)
                save(checkpoints)

            return store.restore(dump, save=save_together, key=KEY)

        with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
            for _ in range(2):
                dump, held = stack.enter_context(store.dump(crew.id, checkpoints="kept"))
                copy = replace(dump, record=replace(dump.record, name="copy"))
                numbers.append(threads.submit(put_in, copy, sealed(held.directories)))
        assert numbers[0].result() == numbers[1].result()
        assert [job.score for job in store.jobs(numbers[0].result())][:1] == [0.5]
        assert len(store.studies()) == 2

    def test_key_of_another_call_is_refused(self, store: Store) -> None:
        crew = Crew(store, population=1)
        store.push(crew.id, {}, key=KEY)
        calls: list[Callable[[], object]] = [
            lambda: store.release(crew.id, worker="w0", failure=LOST, key=KEY),
            lambda: store.fail(crew.claim(), INVALID, key=KEY),
        ]
        for call in calls:
            with pytest.raises(ConfigError, match="key"):
                call()
        assert store.failures(crew.id) == []

    def test_key_of_the_same_call_on_something_else_is_refused(self, store: Store) -> None:
        crew = Crew(store, population=3)
        first, second = crew.claim(), crew.claim()
        points = [Point(1, {"loss": 0.5})]
        store.push(crew.id, {"lr": 0.25}, key="push")
        store.heartbeat(first, lease_s=LONG, points=points, key="heartbeat")
        store.release(crew.id, worker="gone", failure=LOST, key="release")
        store.create_study(study_record(name="letters"), key="create")
        store.fail(first, RETURNED, key="fail")
        with pytest.raises(LeaseLost):
            store.heartbeat(first, lease_s=LONG)
        calls: list[Callable[[], object]] = [
            lambda: store.push(crew.id, {"lr": 0.5}, key="push"),
            lambda: store.heartbeat(second, lease_s=LONG, points=points, key="heartbeat"),
            lambda: store.heartbeat(first, lease_s=LONG, points=points * 2, key="heartbeat"),
            lambda: store.release(crew.id, worker="w0", failure=LOST, key="release"),
            lambda: store.create_study(study_record(name="digits 2"), key="create"),
            lambda: store.fail(second, RETURNED, key="fail"),
            lambda: store.fail(first, INVALID, key="fail"),
        ]
        for call in calls:
            with pytest.raises(ConfigError, match="key: got"):
                call()
        assert [failed.job for failed in store.failures(crew.id)] == [first.job.id]
        assert store.points(crew.id, second.job.id) == []
        assert crew.status().members == 4
        assert len(store.studies()) == 2

    def test_call_that_was_refused_can_be_made_again(self, store: Store) -> None:
        crew = Crew(store, name="digits")
        with pytest.raises(Exception, match="digits"):
            store.create_study(study_record(name="digits"), key=KEY)
        store.delete_study(crew.id)
        assert store.create_study(study_record(name="digits"), key=KEY) != crew.id


def _claim(crew: Crew, key: str, store: Store | None = None) -> Lease | None:
    its = crew.store if store is None else store
    return its.claim(crew.id, worker="w0", lease_s=LONG, key=key)

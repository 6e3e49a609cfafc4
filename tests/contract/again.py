"""Calls made again because an answer was lost: by key or fence done once, told the same."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from threading import Barrier

import pytest

from evolvent.core.algorithms import PBT
from evolvent.core.exploit import CopyBest
from evolvent.core.explore import NoExplore
from evolvent.core.records import JobId, JobState
from evolvent.errors import ConfigError, LeaseLost
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.checkpoints.transfer import CheckpointWriter
from evolvent.store.dump import StudyDump
from evolvent.store.protocol import Store
from evolvent.store.records import FailureKind, Lease, Point, Report
from tests.contract.crew import INVALID, LONG, LOST, OVER, RAISED, RETURNED, Crew, Reopen
from tests.contract.moving import sealed
from tests.settings import study_record

KEY, OTHER = "6f1c7b0a", "0e8d2f55"


class AgainContract:
    """Keys, and what is known by the fence of a lease."""

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

    def test_claim_made_again_gives_the_same_decision(self, store: Store, reopen: Reopen) -> None:
        crew = Crew(store, population=2, rounds=9, algorithm=PBT(CopyBest(), NoExplore()))
        crew.train(0.1, member=0)
        crew.train(0.5, member=1)
        first = _claim(crew, KEY)
        assert first is not None
        assert (first.job.id, first.job.donor) == ("m0r1", 1)
        crew.train(0.9, member=1)
        assert _claim(crew, KEY, reopen()) == first

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
        for offset in (0, 0, 1):
            store.heartbeat(lease, lease_s=LONG, points=_points(1), offset=offset)
        assert len(store.points(crew.id, lease.job.id)) == 2

    def test_points_sent_again_with_newer_ones_keep_their_order(self, store: Store) -> None:
        crew = Crew(store, population=1)
        lease = crew.claim()
        for offset, n in ((0, 2), (1, 3), (0, 1), (4, 0), (0, 6)):
            points = _points(offset + n)[offset:]
            store.heartbeat(lease, lease_s=LONG, points=points, offset=offset)
        assert store.points(crew.id, lease.job.id) == _points(6)

    def test_points_without_an_offset_are_appended(self, store: Store) -> None:
        crew = Crew(store, population=1)
        lease = crew.claim()
        for _ in range(2):
            store.heartbeat(lease, lease_s=LONG, points=_points(2))
        assert store.points(crew.id, lease.job.id) == _points(2) * 2

    def test_points_of_another_attempt_do_not_count(self, store: Store) -> None:
        crew = Crew(store, population=1)
        store.heartbeat(crew.claim(), lease_s=OVER, points=_points(3), offset=0)
        lease = crew.claim()
        with pytest.raises(ConfigError, match="offset: got 3"):
            store.heartbeat(lease, lease_s=LONG, points=_points(4)[3:], offset=3)
        store.heartbeat(lease, lease_s=LONG, points=_points(2), offset=0)
        assert store.points(crew.id, lease.job.id) == _points(2)

    @pytest.mark.parametrize("n", [0, 1])
    def test_points_that_come_before_others_are_asked_for(self, store: Store, n: int) -> None:
        crew = Crew(store, population=1)
        lease, address = crew.claim(), crew.save()
        store.heartbeat(lease, lease_s=LONG, points=_points(1), offset=0)
        points = _points(2 + n)[2:]
        calls: list[Callable[[], object]] = [
            lambda: store.heartbeat(lease, lease_s=LONG, points=points, offset=2),
            lambda: store.report(lease, Report(0.5, {"accuracy": 0.5}, address, points, 2)),
        ]
        for call in calls:
            with pytest.raises(ConfigError, match="offset: got 2") as refused:
                call()
            assert refused.value.field == "offset"
        assert store.points(crew.id, lease.job.id) == _points(1)
        store.report(lease, Report(0.5, {"accuracy": 0.5}, address, _points(2 + n), 0))
        assert store.points(crew.id, lease.job.id) == _points(2 + n)

    def test_points_of_a_report_that_a_heartbeat_brought_are_kept_once(self, store: Store) -> None:
        crew = Crew(store, population=1)
        lease, address = crew.claim(), crew.save()
        store.heartbeat(lease, lease_s=LONG, points=_points(2), offset=0)
        for _ in range(2):
            store.report(lease, Report(0.5, {"accuracy": 0.5}, address, _points(3)[1:], 1))
        assert store.points(crew.id, lease.job.id) == _points(3)

    def test_points_of_a_report_and_a_heartbeat_at_once_are_kept_once(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=10)
        start = Barrier(3)

        def send(lease: Lease) -> None:
            start.wait(60)
            with suppress(LeaseLost):  # the report was there before, but not with all of these
                store.heartbeat(lease, lease_s=LONG, points=_points(3), offset=0)

        with ThreadPoolExecutor(2) as threads:
            for _ in range(10):
                lease, address = crew.claim(), crew.save()
                sent = [threads.submit(send, lease) for _ in range(2)]
                start.wait(60)
                store.report(lease, Report(0.5, {"accuracy": 0.5}, address, _points(2), 0))
                for each in sent:
                    each.result()
                assert store.points(crew.id, lease.job.id) in (_points(2), _points(3))

    def test_points_sent_several_times_at_once_are_kept_once(self, store: Store) -> None:
        crew = Crew(store, population=1)
        lease = crew.claim()
        start, n_rounds = Barrier(4), 10

        def send(offset: int) -> None:
            start.wait(60)
            points = _points(offset + 1)[offset:]
            store.heartbeat(lease, lease_s=LONG, points=points, offset=offset)

        with ThreadPoolExecutor(4) as threads:
            for number in range(n_rounds):
                list(threads.map(send, [number] * 4))
        assert store.points(crew.id, lease.job.id) == _points(n_rounds)

    def test_heartbeat_made_again_when_its_lease_is_lost_is_answered_as_before(
        self, store: Store
    ) -> None:
        crew = Crew(store, population=1)
        lease = crew.claim()
        store.heartbeat(lease, lease_s=OVER, points=_points(2), offset=0)
        crew.claim("w1")
        store.heartbeat(lease, lease_s=OVER, points=_points(2)[1:], offset=1)
        for points, offset in ((_points(3), 0), (_points(1), 2), (_points(1), 9), ((), 2)):
            with pytest.raises(LeaseLost):
                store.heartbeat(lease, lease_s=OVER, points=points, offset=offset)
        with pytest.raises(LeaseLost):
            store.heartbeat(lease, lease_s=OVER, points=_points(1))

    def test_failure_told_again_is_noted_once(self, store: Store) -> None:
        crew = Crew(store, population=2, max_failures=1)
        lease = crew.claim()
        for _ in range(2):
            store.fail(lease, RAISED)
        assert [failed.attempt for failed in store.failures(crew.id)] == [1]
        assert crew.open(0).attempt == 1

    def test_failure_told_again_when_the_job_is_with_another_is_noted_once(
        self, store: Store
    ) -> None:
        crew = Crew(store, population=1, max_failures=1)
        lease = crew.claim()
        store.fail(lease, RAISED)
        second = crew.claim("w1")
        store.fail(lease, RAISED)
        assert [failed.attempt for failed in store.failures(crew.id)] == [1]
        crew.report(second, 0.5)

    def test_another_failure_of_an_attempt_that_came_to_nothing_is_refused(
        self, store: Store
    ) -> None:
        crew = Crew(store, population=2, max_failures=1)
        lease, other = crew.claim(), crew.claim("w1")
        store.fail(lease, RAISED)
        expired = store.claim(crew.id, worker="w0", lease_s=OVER)
        assert expired is not None
        crew.claim("w2")
        calls: list[Callable[[], object]] = [
            lambda: store.fail(lease, INVALID),
            lambda: store.fail(lease, replace(RAISED, message="another")),
            lambda: store.fail(replace(lease, worker="w1"), RAISED),
            lambda: store.fail(replace(lease, job=replace(lease.job, attempt=2)), RAISED),
            lambda: store.fail(expired, RAISED),
            lambda: store.fail(expired, LOST),
        ]
        for call in calls:
            with pytest.raises(LeaseLost):
                call()
        store.fail(other, RETURNED)
        noted = [(failed.job, failed.failure.kind) for failed in store.failures(crew.id)]
        assert noted == [
            (lease.job.id, FailureKind.RAISED),
            (lease.job.id, FailureKind.LOST),
            (other.job.id, FailureKind.RETURNED),
        ]

    def test_release_made_again_tells_how_many_there_were(self, store: Store) -> None:
        crew = Crew(store, population=3)
        for _ in range(2):
            crew.claim("dead")
        for _ in range(2):
            assert store.release(crew.id, worker="dead", failure=LOST) == 2
        assert len(store.failures(crew.id)) == 2
        assert store.release(crew.id, worker="dead", failure=RETURNED) == 0
        crew.claim("dead")
        assert store.release(crew.id, worker="dead", failure=LOST) == 1
        assert store.release(crew.id, worker="w0", failure=LOST) == 0

    def test_job_moved_again_has_the_reason_once(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=5)
        crew.report(crew.claim(), 0.9)
        crew.train(0.1)
        lease = crew.claim()
        moved = [store.reparent(lease, parent=JobId(0, 0), reason="damaged") for _ in range(2)]
        assert moved[0] == moved[1]
        assert moved[0].job.parent == "m0r0"
        assert moved[0].job.reason.count("damaged") == 1

    def test_job_is_not_moved_back_by_a_call_that_comes_late(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=5)
        crew.report(crew.claim(), 0.9)
        store.pin(crew.id, JobId(0, 0))
        for round_ in (1, 2):
            crew.train(0.1)
            store.pin(crew.id, JobId(0, round_))
        lease = crew.claim()
        store.reparent(lease, parent=JobId(0, 1), reason="damaged")
        last = store.reparent(lease, parent=JobId(0, 0), reason="damaged too")
        assert store.reparent(lease, parent=JobId(0, 1), reason="damaged") == last
        assert (last.job.parent, last.job.reason.count("damaged")) == ("m0r0", 2)

    def test_points_of_an_attempt_are_of_its_worker_only(self, store: Store) -> None:
        crew = Crew(store, population=1)
        lease = crew.claim()
        points = [Point(1, {"loss": 0.5})]
        store.heartbeat(lease, lease_s=LONG, points=points, offset=0)
        other = replace(lease, worker="another")
        with pytest.raises(LeaseLost):
            store.heartbeat(other, lease_s=LONG, points=points, offset=0)

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
        with (
            store.dump(crew.id, checkpoints="none") as (dump, _),
            pytest.raises(ConfigError, match="key"),
        ):
            store.restore(dump, save=lambda _: None, key=KEY)
        with pytest.raises(ConfigError, match="key"):
            store.create_study(study_record(name="letters"), key=KEY)
        assert len(store.studies()) == 1

    def test_key_of_the_same_call_on_something_else_is_refused(self, store: Store) -> None:
        crew = Crew(store, population=3)
        store.push(crew.id, {"lr": 0.25}, key="push")
        store.create_study(study_record(name="letters"), key="create")
        calls: list[Callable[[], object]] = [
            lambda: store.push(crew.id, {"lr": 0.5}, key="push"),
            lambda: store.create_study(study_record(name="digits 2"), key="create"),
        ]
        for call in calls:
            with pytest.raises(ConfigError, match="key: got"):
                call()
        assert crew.status().members == 4
        assert len(store.studies()) == 2

    def test_call_that_was_refused_can_be_made_again(self, store: Store) -> None:
        crew = Crew(store, name="digits")
        with pytest.raises(Exception, match="digits"):
            store.create_study(study_record(name="digits"), key=KEY)
        store.delete_study(crew.id)
        assert store.create_study(study_record(name="digits"), key=KEY) != crew.id


def _points(n: int) -> list[Point]:
    return [Point(step, {"loss": 0.5}) for step in range(n)]


def _claim(crew: Crew, key: str, store: Store | None = None) -> Lease | None:
    its = crew.store if store is None else store
    return its.claim(crew.id, worker="w0", lease_s=LONG, key=key)

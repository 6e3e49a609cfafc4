"""Studies: made, found, listed, removed, and kept apart."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evolvent.core.algorithms import PBT
from evolvent.core.distributions import Choice, Constant, IntUniform, LogUniform
from evolvent.core.records import JobId, JobState
from evolvent.core.space import Space
from evolvent.errors import LeaseLost, StoreError, StudyExists, UnknownJob, UnknownStudy
from evolvent.store.protocol import Store
from evolvent.store.records import Report, StudyState
from tests.contract.crew import INVALID, LONG, Crew, Reopen
from tests.settings import study_record

NOWHERE = 10**6


class StudiesContract:
    """Whole studies and their settings."""

    def test_new_study_is_open_and_has_one_queued_job_a_member(self, store: Store) -> None:
        crew = Crew(store, population=3)
        status = crew.status()
        assert status.id == crew.id
        assert status.state is StudyState.OPEN
        assert type(status.counts) is dict  # in every store: people print and compare it
        assert list(status.counts.items()) == [(s, 3 if s == "queued" else 0) for s in JobState]
        assert status.members == 3
        assert (status.best, status.best_score, status.stopped) == (None, None, None)
        assert status.created_at > 1.5e9
        assert (status.started_at, status.changed_at) == (None, None)
        assert [job.id for job in store.jobs(crew.id)] == ["m0r0", "m1r0", "m2r0"]

    def test_settings_come_back_as_they_were(self, store: Store, reopen: Reopen) -> None:
        record = study_record(
            name="ünï 'cöde' \"x\" 100% ; --",
            metric="loss",
            mode="min",
            space=Space({"net.width": IntUniform(1, 9), "act": Choice(("relu", None, True, 3))}),
            algorithm=PBT(),
            population=7,
            rounds=11,
            seed=2**63 + 1,
            synchronous=True,
            initial=({"act": None}, {"net.width": 2}),
            max_failures=0,
            target=0.1 + 0.2,
            trainable="some.where:train",
        )
        number = store.create_study(record)
        for handle in (store, reopen()):
            assert handle.status(number).record == record
            assert handle.find_study(record.name).id == number

    def test_values_that_look_like_our_json_are_the_users(
        self, store: Store, reopen: Reopen
    ) -> None:
        alike = {"$tuple": [1, {"$$tuple": 2}], "type": "Choice"}, {"$tuple": [1]}, [1]
        space = Space({"one": Constant(alike[0]), "two": Choice(alike, initial=alike[1])})
        crew = Crew(store, space=space, population=1)
        lease = crew.claim()
        store.report(lease, Report(0.5, {"accuracy": 0.5, "seen": alike[1]}, crew.save()))
        for handle in (store, reopen()):
            assert handle.status(crew.id).record.space == space
            (job,) = handle.jobs(crew.id, states=[JobState.DONE])
            assert dict(job.hyperparameters) == {"one": alike[0], "two": alike[1]}
            assert job.metrics["seen"] == alike[1]

    def test_first_hyperparameters_are_given_by_hand_or_drawn_by_the_seed(
        self, store: Store
    ) -> None:
        def drawn(name: str, seed: int) -> list[object]:
            crew = Crew(store, name=name, seed=seed, initial=({"lr": 0.5}, {}))
            return [dict(job.hyperparameters) for job in store.jobs(crew.id)]

        first, again, other = drawn("a", 1), drawn("b", 1), drawn("c", 2)
        assert first == again
        assert first[1:] != other[1:]
        assert first[0]["lr"] == other[0]["lr"] == 0.5  # type: ignore[index]

    def test_name_is_taken_once(self, store: Store) -> None:
        crew = Crew(store, name="digits")
        with pytest.raises(StudyExists, match="digits"):
            store.create_study(study_record(name="digits", population=9))
        assert [status.id for status in store.studies()] == [crew.id]
        assert crew.status().members == 3

    def test_studies_are_listed_the_newest_last(self, store: Store) -> None:
        assert store.studies() == []
        ids = [Crew(store, name=name).id for name in ("c", "a", "b")]
        assert [status.id for status in store.studies()] == ids
        assert [status.record.name for status in store.studies()] == ["c", "a", "b"]

    def test_unknown_name_is_answered_with_the_closest(self, store: Store) -> None:
        with pytest.raises(UnknownStudy, match="digits"):
            store.find_study("digits")
        Crew(store, name="digits-large")
        with pytest.raises(UnknownStudy, match="digits-large"):
            store.find_study("digits-lage")

    def test_unknown_study_is_an_error_everywhere(self, store: Store) -> None:
        job = JobId(0, 0)
        calls: list[Callable[[], object]] = [
            lambda: store.status(NOWHERE),
            lambda: store.delete_study(NOWHERE),
            lambda: store.checkpoints(NOWHERE),
            lambda: store.use_algorithm(NOWHERE, PBT()),
            lambda: store.claim(NOWHERE, worker="w0", lease_s=LONG),
            lambda: store.release(NOWHERE, worker="w0", failure=INVALID),
            lambda: store.stop(NOWHERE, reason="by hand"),
            lambda: store.resume(NOWHERE),
            lambda: store.extend(NOWHERE, rounds=9),
            lambda: store.retarget(NOWHERE, target=None),
            lambda: store.push(NOWHERE, {}),
            lambda: store.pin(NOWHERE, job),
            lambda: store.unpin(NOWHERE, job),
            lambda: store.pins(NOWHERE),
            lambda: store.collect(NOWHERE),
            lambda: store.jobs(NOWHERE),
            lambda: store.job(NOWHERE, job),
            lambda: store.members(NOWHERE),
            lambda: store.lineage(NOWHERE, job),
            lambda: store.points(NOWHERE, job),
            lambda: store.failures(NOWHERE),
        ]
        for call in calls:
            with pytest.raises(UnknownStudy):
                call()

    @pytest.mark.parametrize("job", [JobId(0, 1), JobId(3, 0), JobId(99, 99)])
    def test_unknown_job_is_an_error_everywhere(self, store: Store, job: JobId) -> None:
        crew = Crew(store, population=3)
        for look in (store.job, store.lineage, store.points, store.pin):
            with pytest.raises(UnknownJob, match=job):
                look(crew.id, job)

    def test_removed_study_is_gone_with_its_log_and_checkpoints(self, store: Store) -> None:
        crew = Crew(store, name="digits")
        lease, other = crew.claim(), crew.claim()
        report = crew.report(lease, 0.5)
        checkpoints = store.checkpoints(crew.id)
        store.delete_study(crew.id)
        assert store.studies() == []
        assert report.checkpoint not in checkpoints
        attempts: list[Callable[[], object]] = [
            lambda: store.heartbeat(other, lease_s=LONG),
            lambda: store.report(other, report),
            lambda: store.fail(other, INVALID),
            lambda: store.reparent(other, parent=lease.job.id, reason="damaged"),
        ]
        for attempt in attempts:
            with pytest.raises(LeaseLost):
                attempt()
        again = Crew(store, name="digits")
        assert again.id != crew.id
        assert all(job.state is JobState.QUEUED for job in store.jobs(again.id))

    def test_studies_do_not_touch_each_other(self, store: Store) -> None:
        one, two = Crew(store, name="one"), Crew(store, name="two")
        before = two.log()
        shared = one.report(one.claim(), 0.5, text="same").checkpoint
        one.fail(one.claim())
        store.stop(one.id, reason="by hand")
        assert two.log() == before
        assert two.report(two.claim(), 0.25, text="same").checkpoint == shared
        store.delete_study(one.id)
        assert two.status().best_score == 0.25
        assert shared in store.checkpoints(two.id)
        assert store.failures(two.id) == []

    def test_another_handle_sees_and_shares_everything(self, store: Store, reopen: Reopen) -> None:
        crew = Crew(store)
        other = reopen()
        lease = other.claim(crew.id, worker="w1", lease_s=LONG)
        assert lease is not None
        crew.report(lease, 0.5)
        assert other.jobs(crew.id) == store.jobs(crew.id)
        assert other.status(crew.id) == store.status(crew.id)
        store.stop(crew.id, reason="by hand")
        assert other.claim(crew.id, worker="w1", lease_s=LONG) is None
        other.close()
        assert crew.status().stopped == "by hand"

    def test_closed_store_cannot_be_used(self, store: Store) -> None:
        crew = Crew(store)
        store.close()
        with pytest.raises(StoreError):
            store.status(crew.id)
        store.close()

    def test_values_survive_exactly(self, store: Store, reopen: Reopen) -> None:
        values = {
            "sum": 0.1 + 0.2,
            "tiny": 5e-324,
            "huge": 1.7976931348623157e308,
            "whole": 1.0,
            "odd": 2**53 + 1,
            "large": -(2**63) - 1,
            "yes": True,
            "nothing": None,
            "text": "ä€😀 \n\t\0 'x' \"y\" \\ 100%",
            "empty": "",
        }
        fields = {name: Constant(value) for name, value in values.items()}
        crew = Crew(store, space=Space({**fields, "lr": LogUniform(1e-9, 1e-8)}), population=1)
        metrics = {
            "accuracy": 0.1 + 0.2,
            "nan": float("nan"),
            "up": float("inf"),
            "down": -float("inf"),
            "zero": -0.0,
            "steps": 2**53 + 1,
            "ünï": 1.0,
        }
        store.report(crew.claim(), Report(-1 / 3, metrics, crew.save()))
        for handle in (store, reopen()):
            job = handle.job(crew.id, JobId(0, 0))
            kept = {name: job.hyperparameters[name] for name in values}
            assert repr(kept) == repr(values)
            assert repr(dict(job.metrics)) == repr(metrics)
            assert repr(job.score) == repr(-1 / 3)
            assert repr(handle.status(crew.id).best_score) == repr(-1 / 3)

"""Any history: random calls on the store under test and on the reference give the same log."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from evolvent.core.algorithms import PBT, Algorithm, RandomSearch
from evolvent.core.exploit import BinaryTournament, CopyBest, NoExploit, Truncation, TTest
from evolvent.core.explore import NoExplore, Perturb
from evolvent.core.records import JobId, JobRecord
from evolvent.core.study import StudyRecord
from evolvent.errors import EvolventError
from evolvent.store.protocol import Store
from evolvent.store.records import Failure, FailureKind, Lease, Point, Report, StudyStatus
from tests.contract.crew import LONG, OVER
from tests.contract.reference.store import ReferenceStore
from tests.settings import study_record, there_are

ALGORITHMS: list[Algorithm] = [
    PBT(exploit=Truncation(0.5), explore=Perturb()),
    PBT(exploit=BinaryTournament(), explore=NoExplore()),
    PBT(exploit=CopyBest(), explore=NoExplore()),
    PBT(exploit=TTest(3, 0.5), explore=Perturb()),
    PBT(exploit=NoExploit(), explore=Perturb()),
    PBT(exploit=Truncation(0.5), explore=Perturb(), explore_all=True),
    RandomSearch(),
]
WORKERS = st.sampled_from(["w0", "w1", "w2"])
LEASES = st.sampled_from([LONG, LONG, OVER])
KINDS = st.sampled_from(list(FailureKind))
SCORES = st.sampled_from([0.0, 0.25, 0.5, 1.0])
MEMBERS, ROUNDS = st.integers(0, 5), st.integers(0, 8)
JOBS = st.builds(JobId, MEMBERS, ROUNDS)
OFFSETS = st.none() | st.integers(0, 3)
INDEX = st.integers(0, 10**6)

_numbers = itertools.count()


class HistoriesContract:
    """Random histories beside the reference store."""

    max_examples = 60
    """How many histories are tried, of up to 40 steps each; raise it to search deeper."""

    @pytest.mark.slow
    @pytest.mark.timeout(1200)  # minutes over HTTP, on a machine that has much else to do
    def test_any_history_gives_the_log_that_the_reference_gives(self, store: Store) -> None:
        class Machine(Histories):
            under_test = store

        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=self.max_examples,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two stores, with the same study in it."""

    store: Store
    study: int
    leases: list[Lease]


class Histories(RuleBasedStateMachine):
    """Does the same to two stores and compares what they say and hold."""

    under_test: Store

    def __init__(self) -> None:
        super().__init__()
        self.sides: list[Side] = []
        self.addresses: set[str] = set()

    @initialize(
        population=st.integers(1, 4),
        rounds=st.integers(1, 8),
        synchronous=st.booleans(),
        algorithm=st.sampled_from(ALGORITHMS),
        max_failures=st.integers(0, 1),
        best=st.sampled_from(["score", "score", "mean of 2", "mean of 3"]),
    )
    def create(self, **chosen: Any) -> None:
        record = study_record(name=f"history {next(_numbers)}", target=1.0, **chosen)
        self.directory = TemporaryDirectory()
        reference = ReferenceStore(Path(self.directory.name))
        self.sides = [_side(self.under_test, record), _side(reference, record)]

    @rule(worker=WORKERS, lease_s=LEASES, prefer=st.none() | MEMBERS)
    def claim(self, worker: str, lease_s: float, prefer: int | None) -> None:
        def claimed(side: Side) -> object:
            lease = side.store.claim(side.study, worker=worker, lease_s=lease_s, prefer=prefer)
            if lease is None:
                return None
            side.leases.append(lease)
            return _timeless(lease.job), lease.worker

        self.both(claimed)

    @precondition(lambda self: self.sides[0].leases)
    @rule(index=INDEX, lease_s=LEASES, points=st.integers(0, 2), offset=OFFSETS)
    def heartbeat(self, index: int, lease_s: float, points: int, offset: int | None) -> None:
        logged = [Point(step, {"loss": 1.0 / (step + 1)}) for step in range(points)]

        def beat(side: Side, lease: Lease) -> None:
            side.store.heartbeat(lease, lease_s=lease_s, points=logged, offset=offset)

        self.with_lease(index, beat)

    @precondition(lambda self: self.sides[0].leases)
    @rule(index=INDEX, score=SCORES, content=st.integers(0, 9))
    def report(self, index: int, score: float, content: int) -> None:
        def report(side: Side, lease: Lease) -> None:
            address = self.save(side, f"{lease.job.id} {content}")
            side.store.report(lease, Report(score, {"accuracy": score}, address))

        self.with_lease(index, report)

    @rule(scores=st.lists(SCORES, min_size=1, max_size=8))
    def train(self, scores: list[float]) -> None:
        """Claim and report a few jobs one after the other, as undisturbed workers do."""
        for content, score in enumerate(scores):
            before = len(self.sides[0].leases)
            self.claim(worker="w0", lease_s=LONG, prefer=None)
            if len(self.sides[0].leases) > before:
                self.report(index=-1, score=score, content=content)

    @precondition(lambda self: self.sides[0].leases)
    @rule(score=SCORES)
    def report_newest(self, score: float) -> None:
        self.report(index=-1, score=score, content=len(self.sides[0].leases))

    @precondition(lambda self: self.sides[0].leases)
    @rule(index=INDEX, kind=KINDS)
    def fail(self, index: int, kind: FailureKind) -> None:
        self.with_lease(index, lambda side, lease: side.store.fail(lease, Failure(kind, "why")))

    @precondition(lambda self: self.sides[0].leases)
    @rule(kind=KINDS)
    def fail_newest(self, kind: FailureKind) -> None:
        self.fail(index=-1, kind=kind)

    @precondition(lambda self: self.sides[0].leases)
    @rule(index=INDEX, parent=JOBS)
    def reparent(self, index: int, parent: JobId) -> None:
        def reparent(side: Side, lease: Lease) -> object:
            moved = side.store.reparent(lease, parent=parent, reason="damaged")
            return _timeless(moved.job)

        self.with_lease(index, reparent)

    @precondition(lambda self: self.sides[0].leases and self.status().best)
    @rule()
    def reparent_newest_to_best(self) -> None:
        best = self.status().best
        assert best is not None
        self.reparent(index=-1, parent=best)

    @rule(worker=WORKERS, kind=KINDS)
    def release(self, worker: str, kind: FailureKind) -> None:
        failure = Failure(kind, "gone", "Traceback …")
        self.both(lambda side: side.store.release(side.study, worker=worker, failure=failure))

    @rule()
    def stop(self) -> None:
        self.both(lambda side: side.store.stop(side.study, reason="by hand"))

    @rule()
    def resume(self) -> None:
        self.both(lambda side: side.store.resume(side.study))

    @rule(rounds=ROUNDS)
    def extend(self, rounds: int) -> None:
        self.both(lambda side: side.store.extend(side.study, rounds=rounds))

    @rule(wanted=st.none() | st.sampled_from([0.5, 1.0, 2.0]))
    def retarget(self, wanted: float | None) -> None:
        self.both(lambda side: side.store.retarget(side.study, target=wanted))

    @precondition(lambda self: self.status().members < 6)
    @rule(lr=st.sampled_from([0.001, 0.5]))
    def push(self, lr: float) -> None:
        self.both(lambda side: side.store.push(side.study, {"lr": lr}))

    @precondition(lambda self: self.status().members < 6)
    @rule(score=SCORES, content=st.integers(0, 9))
    def push_done(self, score: float, content: int) -> None:
        def push(side: Side) -> object:
            done = Report(score, {"accuracy": score}, self.save(side, f"pushed {content}"))
            return side.store.push(side.study, {"lr": 0.5, "momentum": 0.5}, done=done)

        self.both(push)

    @rule(job=JOBS)
    def pin(self, job: JobId) -> None:
        self.both(lambda side: side.store.pin(side.study, job))

    @rule(job=JOBS)
    def unpin(self, job: JobId) -> None:
        self.both(lambda side: side.store.unpin(side.study, job))

    @rule()
    def collect(self) -> None:
        self.both(lambda side: side.store.collect(side.study))

    @invariant()
    def same_log(self) -> None:
        self.both(lambda side: list(map(_timeless, side.store.jobs(side.study))))
        self.both(_members)

    @invariant()
    def same_status(self) -> None:
        self.both(_status)
        self.both(lambda side: side.store.pins(side.study))
        self.both(_failures)
        self.both(_interventions)

    @invariant()
    def same_checkpoints(self) -> None:
        self.both(self.on_disk)

    def teardown(self) -> None:
        if self.sides:
            self.sides[0].store.delete_study(self.sides[0].study)
            self.sides[1].store.close()
            self.directory.cleanup()

    def both(self, call: Callable[[Side], object]) -> None:
        """Do the same to both; they must give the same, or refuse in the same way."""
        here, there = (_outcome(call, side) for side in self.sides)
        assert here == there

    def status(self) -> StudyStatus:
        return self.sides[0].store.status(self.sides[0].study)

    def with_lease(self, index: int, call: Callable[[Side, Lease], object]) -> None:
        self.both(lambda side: call(side, side.leases[index % len(side.leases)]))

    def save(self, side: Side, text: str) -> str:
        checkpoints = side.store.checkpoints(side.study)
        staged = checkpoints.stage("history")
        (staged / "weights").write_text(text)
        address = checkpoints.seal(staged)
        checkpoints.drop(staged)
        self.addresses.add(address)
        return address

    def on_disk(self, side: Side) -> set[str]:
        checkpoints = side.store.checkpoints(side.study)
        return {address for address in self.addresses if address in checkpoints}


def _side(store: Store, record: StudyRecord) -> Side:
    return Side(store, store.create_study(record), [])


def _outcome(call: Callable[[Side], object], side: Side) -> object:
    try:
        return call(side)
    except EvolventError as e:
        return type(e)


def _timeless(job: JobRecord) -> JobRecord:
    return replace(job, started_at=None, finished_at=None, lease_until=None)


def _members(side: Side) -> object:
    return [
        (view.newest and _timeless(view.newest), view.open and _timeless(view.open))
        for view in side.store.members(side.study)
    ]


def _status(side: Side) -> object:
    status = side.store.status(side.study)
    best = (status.best, status.best_score, status.best_scores)
    members, stopped = (status.members, status.lost), status.stopped is not None
    return status.state, there_are(status), members, best, status.record, stopped


def _failures(side: Side) -> object:
    failures = side.store.failures(side.study)
    return [(f.job, f.attempt, f.failure.kind, f.worker) for f in failures]


def _interventions(side: Side) -> object:
    return [(i.kind, {**i.facts, "reason": ""}) for i in side.store.interventions(side.study)]

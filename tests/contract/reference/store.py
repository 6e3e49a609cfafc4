"""The reference: what the protocol promises, by a dict and a lock. For tests only."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from evolvent.core.algorithms import Algorithm
from evolvent.core.heads import HeadState
from evolvent.core.records import Hyperparameters, JobId, JobRecord, JobState
from evolvent.core.study import StudyRecord
from evolvent.errors import CheckpointMissing, LeaseLost, StoreError, UnknownJob, UnknownStudy
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.interventions import Intervention, InterventionKind
from evolvent.store.records import (
    FailedAttempt,
    Failure,
    JobColumn,
    Lease,
    MemberView,
    Point,
    Report,
    StudyStatus,
    Wait,
    named,
)
from evolvent.store.sql.idempotency import fingerprint
from evolvent.validation import utf8_text
from tests.contract.reference import rules
from tests.contract.reference.dump import ReferenceArchive
from tests.contract.reference.studies import Studies
from tests.contract.reference.study import ReferenceStudy


class ReferenceStore(ReferenceArchive):
    """A store that lives as long as this object.

    Args:
        directory: where the checkpoints of its studies go.
    """

    def __init__(self, directory: Path) -> None:
        self._contents = Studies(directory)
        self._closed = False

    def another_handle(self) -> ReferenceStore:
        """Return a store with the same studies."""
        other = copy(self)
        other._closed = False
        return other

    @property
    def url(self) -> str:
        return self._contents.url

    def close(self) -> None:
        self._closed = True

    # --- studies -------------------------------------------------------------------------------

    def create_study(self, record: StudyRecord, *, key: str | None = None) -> int:
        with (contents := self._open).lock:
            call = fingerprint("create", record)
            return contents.answers.run(key, call, lambda: contents.create(record))

    def status(self, study: int) -> StudyStatus:
        with self._open.read(study) as it:
            return _status(it)

    def find_study(self, name: str) -> StudyStatus:
        return named(name, self.studies(), url=self.url)

    def studies(self) -> list[StudyStatus]:
        with self._open.lock:
            return [_status(study) for study in self._open.studies.values()]

    def delete_study(self, study: int) -> None:
        with self._open.read(study) as it:
            del self._open.studies[study]
            it.checkpoints.remove_all()

    def checkpoints(self, study: int) -> LocalCheckpoints:
        with self._open.read(study) as it:
            return it.checkpoints

    def use_algorithm(self, study: int, algorithm: Algorithm) -> None:
        with self._open.change(study) as it:
            it.record = replace(it.record, algorithm=algorithm)

    # --- work ----------------------------------------------------------------------------------

    def claim(
        self,
        study: int,
        *,
        worker: str,
        lease_s: float,
        prefer: int | None = None,
        wait: Wait | None = None,
        key: str | None = None,
    ) -> Lease | None:
        with self._open.change(study) as it:
            lease = rules.claim(it, worker=worker, lease_s=lease_s, prefer=prefer, key=key)
            return replace(lease, job=_copied(lease.job)) if lease is not None else None

    def heartbeat(
        self,
        lease: Lease,
        *,
        lease_s: float,
        points: Sequence[Point] = (),
        offset: int | None = None,
    ) -> None:
        with self._held(lease) as it:
            rules.beat(it, lease, lease_s, points, offset)

    def report(self, lease: Lease, report: Report) -> None:
        with self._held(lease) as it:
            row = it.log.get(lease.job.id)
            if row is None or row.attempt != lease.attempt or row.state is not JobState.DONE:
                rules.report(it, lease, report)

    def fail(self, lease: Lease, failure: Failure) -> None:
        with self._held(lease) as it:
            rules.fail_attempt(it, lease, failure)

    def release(self, study: int, *, worker: str, failure: Failure) -> int:
        with self._open.change(study) as it:
            return rules.release(it, worker, failure)

    def reparent(self, lease: Lease, *, parent: JobId, reason: str) -> Lease:
        with self._held(lease) as it:
            moved = rules.reparent(it, lease, parent, reason)
            return replace(moved, job=_copied(moved.job))

    # --- control -------------------------------------------------------------------------------

    def stop(self, study: int, *, reason: str, by: str | None = None) -> None:
        reason = utf8_text(reason)
        with self._open.change(study) as it:
            if it.stopped != reason or it.at_target:
                it.note(InterventionKind.STOPPED, by, reason=reason)
            it.stopped, it.at_target = reason, False

    def resume(self, study: int, *, by: str | None = None) -> None:
        with self._open.change(study) as it:
            rules.resume(it, by)

    def extend(self, study: int, *, rounds: int, by: str | None = None) -> None:
        with self._open.change(study) as it:
            rules.extend(it, rounds, by)

    def retarget(self, study: int, *, target: float | None, by: str | None = None) -> None:
        with self._open.change(study) as it:
            if (before := it.record.target) != target:
                it.note(InterventionKind.RETARGETED, by, before=before, after=target)
            it.record = replace(it.record, target=target)
            if it.at_target and not it.reached(*it.best_score):
                it.stopped, it.at_target = None, False

    def remember(self, study: int, *, trainable: str) -> None:
        with self._open.change(study) as it:
            it.record = replace(it.record, trainable=trainable)

    def push(
        self,
        study: int,
        hyperparameters: Hyperparameters,
        *,
        done: Report | None = None,
        key: str | None = None,
        by: str | None = None,
    ) -> JobId:
        with self._open.change(study) as it:
            call = fingerprint("push", study, hyperparameters, done)
            return self._contents.answers.run(
                key, call, lambda: rules.push(it, hyperparameters, done, by)
            )

    def pin(self, study: int, job: JobId) -> None:
        with self._open.change(study) as it:
            row = it.log.get(job)
            if row is None or row.checkpoint is None:
                raise UnknownJob(f"study {it.record.name!r} has no done job {job} to pin")
            if row.checkpoint not in it.checkpoints:
                raise CheckpointMissing(f"the checkpoint of {job} has been collected already")
            it.pins.add(job)

    def unpin(self, study: int, job: JobId) -> None:
        with self._open.change(study) as it:
            it.pins.discard(job)

    def pins(self, study: int) -> list[JobId]:
        with self._open.read(study) as it:
            return sorted(it.pins, key=lambda job: (job.member, job.round))

    def collect(self, study: int) -> int:
        with self._open.change(study) as it:
            running = [slot for slot in it.slots if slot.head.state is HeadState.RUNNING]
            oldest = min((slot.started_at or 0.0 for slot in running), default=time.time())
            return it.checkpoints.sweep(it.needed, staged_before=oldest)

    # --- reading -------------------------------------------------------------------------------

    def jobs(
        self,
        study: int,
        *,
        states: Iterable[JobState] | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> list[JobRecord]:
        wanted = set(JobState) if states is None else set(states)
        with self._open.read(study) as it:
            rows = chain(islice(it.log.values(), after, None), map(it.open_job, it.slots))
            found = (job for job in rows if job is not None and job.state in wanted)
            return [_copied(job) for job in islice(found, limit)]

    def scan(
        self,
        study: int,
        columns: Sequence[JobColumn],
        *,
        after: int = 0,
        limit: int | None = None,
    ) -> list[tuple[Any, ...]]:
        with self._open.read(study) as it:
            rows = islice(it.log.values(), after, None)
            return [it.row(job, columns) for job in islice(rows, limit)]

    def job(self, study: int, job: JobId) -> JobRecord:
        with self._open.read(study) as it:
            return _copied(it.job(job))

    def members(self, study: int) -> list[MemberView]:
        with self._open.read(study) as it:
            return [
                MemberView(
                    _copied(slot.newest) if slot.newest is not None else None,
                    _copied(job) if slot.active and (job := it.open_job(slot)) else None,
                )
                for slot in it.slots
            ]

    def lineage(self, study: int, job: JobId) -> list[JobRecord]:
        with self._open.read(study) as it:
            return [_copied(row) for row in it.lineage(job)]

    def points(self, study: int, job: JobId) -> list[Point]:
        with self._open.read(study) as it:
            it.job(job)  # or UnknownJob
            points = it.points[job] if job in it.points else it.slots[job.member].points
            return rules.copied(points)

    def points_of(self, study: int, member: int) -> list[tuple[int, float, str]]:
        with self._open.read(study) as it:
            return it.points_of(member)

    def failures(self, study: int, *, limit: int = 100) -> list[FailedAttempt]:
        with self._open.read(study) as it:
            return it.failed[max(0, len(it.failed) - limit) :]

    def interventions(self, study: int, *, limit: int | None = None) -> list[Intervention]:
        with self._open.read(study) as it:
            done = it.interventions
            return done[0 if limit is None else max(0, len(done) - limit) :]

    @property
    def _open(self) -> Studies:
        if self._closed:
            raise StoreError(f"{self.url} has been closed")
        return self._contents

    @contextmanager
    def _held(self, lease: Lease) -> Iterator[ReferenceStudy]:
        try:
            with self._open.change(lease.study) as it:
                yield it
        except UnknownStudy as e:
            raise LeaseLost(f"{lease.job.id}: its study has been removed") from e


def _status(study: ReferenceStudy) -> StudyStatus:
    jobs = [*study.log.values(), *filter(None, map(study.open_job, study.slots))]
    best = study.best
    n_scores, best_score = study.best_score
    now = time.time()
    return StudyStatus(
        id=study.id,
        record=study.record,
        state=study.state,
        counts=Counter(job.state for job in jobs),
        members=len(study.slots),
        best=best.id if best is not None else None,
        best_score=best_score,
        stopped=study.stopped,
        created_at=study.created_at,
        started_at=study.started_at,
        changed_at=study.changed_at,
        best_scores=n_scores or 1,
        stopped_by=study.stopped_by,
        lost=sum(job.lease_until is not None and job.lease_until <= now for job in jobs),
        read_at=now,
    )


def _copied(job: JobRecord) -> JobRecord:
    """Return a record whose mappings the caller may change without changing the log."""
    return replace(job, hyperparameters=dict(job.hyperparameters), metrics=dict(job.metrics))

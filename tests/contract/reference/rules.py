"""What happens to a study of the reference: claims, reports, failures, and what members do next.

The functions change the draft they are given and leave locking and undoing to their callers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import assert_never

from evolvent.core.heads import (
    Head,
    HeadState,
    decided_head,
    first_head,
    next_head,
    round_heads,
)
from evolvent.core.population import Population
from evolvent.core.records import Cause, Hyperparameters, JobId, JobRecord, JobState
from evolvent.errors import CheckpointMissing, DecisionError, LeaseLost, UnknownJob
from evolvent.store.dump import cannot_go_on
from evolvent.store.interventions import InterventionKind
from evolvent.store.records import (
    MAX_LOSSES,
    PUSHED_BY,
    PUSHED_REASON,
    RESTARTED_REASON,
    FailedAttempt,
    Failure,
    FailureKind,
    Lease,
    Point,
    Report,
    StudyState,
)
from evolvent.validation import invalid, utf8_text
from tests.contract.reference.study import ReferenceStudy, Slot


def claim(
    study: ReferenceStudy, *, worker: str, lease_s: float, prefer: int | None, key: str | None
) -> Lease | None:
    """Hand out the job that is next in turn, if there is one."""
    if (given := _given(study, worker, key)) is not None:
        return given
    while study.state is StudyState.OPEN:
        free = [slot for slot in study.slots if slot.claimable(time.time())]
        if not free:
            return None
        slot = min(free, key=lambda s: (s.head.round, s.head.member != prefer, s.head.member))
        if slot.head.state is HeadState.QUEUED:
            if slot.head.cause is Cause.UNDECIDED:
                try:
                    _decide(study, [slot])
                except DecisionError as e:
                    study.stopped, study.undecided = str(e), True
                    return None
            if slot.head.state is not HeadState.QUEUED:
                continue  # it waits for a donor, or was stopped
            slot.key = key
            return _hand_out(study, slot, worker=worker, lease_s=lease_s)
        # This may end the job and open others, so look again what is next in turn.
        fail(study, slot, Failure(FailureKind.LOST, f"no sign of life from worker {slot.worker}"))
    return None


def report(study: ReferenceStudy, lease: Lease, result: Report) -> None:
    """Append a done job to the log and open the next ones."""
    slot = study.held(lease)
    if result.checkpoint not in study.checkpoints:
        raise CheckpointMissing(f"{lease.job.id}: there is no checkpoint {result.checkpoint}")
    study.on_disk.add(result.checkpoint)
    _keep_points(study, slot, result.points, result.offset)
    row = replace(
        study.record_of(slot, JobState.DONE),
        score=result.score,
        metrics=dict(result.metrics),
        checkpoint=result.checkpoint,
        error=None,
    )
    study.best = study.best_of([row] if study.best is None else [study.best, row])
    if study.stopped is None and study.reached(*study.chooses(row)):
        study.stopped, study.at_target = f"{row.id} reached the target", True
    _finish(study, slot, row, parent=row.id)


def push(
    study: ReferenceStudy, hyperparameters: Hyperparameters, done: Report | None, by: str | None
) -> JobId:
    """Add a member; with `done`, one whose round 0 was trained elsewhere."""
    head = first_head(study.record, len(study.slots), dict(hyperparameters))
    slot = Slot(head)
    study.slots.append(slot)
    if done is not None:
        slot.head = replace(head, reason=PUSHED_REASON, cause=Cause.PUSHED)
        report(study, _hand_out(study, slot, worker=PUSHED_BY, lease_s=0.0), done)
    job = JobId(head.member, 0)
    study.note(InterventionKind.PUSHED, by, job=job)
    return job


def fail(study: ReferenceStudy, slot: Slot, failure: Failure) -> None:
    """Note a failed attempt; requeue the job, or append it to the log as failed."""
    slot.failures += failure.kind is FailureKind.RAISED
    slot.losses += failure.kind is FailureKind.LOST
    slot.error = utf8_text(failure.traceback or failure.message)
    row = study.record_of(slot, JobState.FAILED)
    noted = FailedAttempt(row.id, slot.attempt, failure, slot.worker or "", time.time())
    study.failed.append(noted)
    if _final(study, slot, failure.kind):
        damaged = failure.kind is FailureKind.DAMAGED
        _finish(study, slot, row, parent=None if damaged else slot.head.parent)
    else:
        slot.head = replace(slot.head, state=HeadState.QUEUED)
        slot.worker = None


def beat(
    study: ReferenceStudy,
    lease: Lease,
    lease_s: float,
    points: Sequence[Point],
    offset: int | None,
) -> None:
    """Prolong a lease and keep the points; of a lost one they may have come before."""
    try:
        slot = study.held(lease)
    except LeaseLost:
        n_kept = study.n_points.get((lease.job.id, lease.attempt), 0)
        now = next((slot for slot in study.slots if slot.head.member == lease.job.member), None)
        of_another = (
            now is not None
            and (now.head.round, now.attempt) == (lease.job.round, lease.attempt)
            and now.worker not in {None, lease.worker}
        )
        if points and offset is not None and offset + len(points) <= n_kept and not of_another:
            return
        raise
    slot.lease_until = time.time() + lease_s
    _keep_points(study, slot, points, offset)


def fail_attempt(study: ReferenceStudy, lease: Lease, failure: Failure) -> None:
    """Note that a lease came to nothing, unless that is noted already."""
    attempt = (lease.job.id, lease.attempt, lease.worker)
    if not any((it.job, it.attempt, it.worker) == attempt for it in _noted(study, failure)):
        fail(study, study.held(lease), failure)


def release(study: ReferenceStudy, worker: str, failure: Failure) -> int:
    """Note a failure for all jobs of a worker; return how many, or how many it was before."""
    running = [slot for slot in study.slots if slot.head.state is HeadState.RUNNING]
    held = [slot for slot in running if slot.worker == worker]
    for slot in held:
        fail(study, slot, failure)
    return len(held) or sum(it.worker == worker for it in _noted(study, failure))


def resume(study: ReferenceStudy, by: str | None) -> None:
    """Undo a stop, and the failure of all members."""
    reason, stopped_by = study.stopped, study.stopped_by
    restarted = False
    if study.incomplete:
        if study.state is StudyState.FINISHED:
            return
        if gone := study.missing():
            raise cannot_go_on(study.record.name, gone)
        study.incomplete = False
    if study.state is StudyState.FAILED:
        for slot in study.slots:
            if slot.head.round < study.record.rounds:
                restarted = True
                slot.head = replace(
                    slot.head,
                    state=HeadState.QUEUED,
                    reason=RESTARTED_REASON,
                    cause=Cause.RESTARTED,
                )
    if reason is not None or restarted:
        study.note(InterventionKind.RESUMED, by, reason=reason, stopped_by=stopped_by)
    study.stopped, study.at_target, study.undecided = None, False, False
    _settle(study)


def extend(study: ReferenceStudy, rounds: int, by: str | None) -> None:
    """Change the number of rounds; members that have now more, or fewer, to do are told so."""
    least = max(slot.head.round + slot.active for slot in study.slots)
    if rounds < max(least, 1):
        raise invalid(
            "rounds",
            f"got {rounds}, wanted {max(least, 1)} or more: so many are trained or given "
            "out already",
        )
    before, study.record = study.record.rounds, replace(study.record, rounds=rounds)
    if rounds != before:
        study.note(InterventionKind.EXTENDED, by, before=before, after=rounds)
    for slot in study.slots:
        if slot.head.state is HeadState.WAITING or slot.ended_at(before):
            _go_on(study, slot)
    _settle(study)


def copied(points: Iterable[Point]) -> list[Point]:
    """Return points whose values nobody else holds."""
    return [Point(float(point.step), dict(point.values)) for point in points]


def _keep_points(
    study: ReferenceStudy, slot: Slot, points: Sequence[Point], offset: int | None
) -> None:
    """Keep points of the running attempt, but those that are there."""
    n_kept = len(slot.points)
    if offset is not None and (offset or points):
        if not 0 <= offset <= n_kept:
            raise invalid("offset", f"got {offset}, wanted 0 to {n_kept}")
        points = points[n_kept - offset :]
    slot.points.extend(copied(points))
    job = JobId(slot.head.member, slot.head.round)
    study.n_points[job, slot.attempt] = len(slot.points)


def _noted(study: ReferenceStudy, failure: Failure) -> list[FailedAttempt]:
    """Return the attempts that came to nothing by this failure."""
    what = (failure.kind, failure.message)
    return [it for it in study.failed if (it.failure.kind, it.failure.message) == what]


def _final(study: ReferenceStudy, slot: Slot, kind: FailureKind) -> bool:
    match kind:
        case FailureKind.RAISED:
            return slot.failures > study.record.max_failures
        case FailureKind.LOST:
            return slot.losses >= MAX_LOSSES
        case FailureKind.INVALID | FailureKind.DAMAGED:
            return True
        case FailureKind.RETURNED:
            return False
        case _:
            assert_never(kind)


def reparent(study: ReferenceStudy, lease: Lease, parent: JobId, reason: str) -> Lease:
    """Let a claimed job start from another checkpoint than it was opened with."""
    slot = study.held(lease)
    if slot.head.parent == parent:
        return Lease(study.id, study.record_of(slot, JobState.RUNNING), lease.worker)
    if parent not in study.log:
        raise UnknownJob(f"study {study.record.name!r} has no finished job {parent}")
    address = study.address(parent)
    if address is None or address not in study.checkpoints:
        raise CheckpointMissing(f"{parent} has no checkpoint on disk")
    if slot.head.parent is not None and parent.round >= slot.head.parent.round:
        return Lease(study.id, study.record_of(slot, JobState.RUNNING), lease.worker)
    both = f"{slot.head.reason}; {reason}" if slot.head.reason else reason
    restarted = slot.head.cause is Cause.RESTARTED
    cause = Cause.RESTARTED if restarted else Cause.FELL_BACK
    slot.head = replace(slot.head, parent=parent, reason=both, cause=cause)
    return Lease(study.id, study.record_of(slot, JobState.RUNNING), lease.worker)


def _given(study: ReferenceStudy, worker: str, key: str | None) -> Lease | None:
    """Return what a claim of this key got before, while it counts."""
    for slot in study.slots if key is not None else ():
        if (slot.head.state, slot.key, slot.worker) == (HeadState.RUNNING, key, worker):
            return Lease(study.id, study.record_of(slot, JobState.RUNNING), worker)
    return None


def _hand_out(study: ReferenceStudy, slot: Slot, *, worker: str, lease_s: float) -> Lease:
    slot.head = replace(slot.head, state=HeadState.RUNNING)
    slot.attempt += 1
    slot.worker, slot.points = worker, []
    slot.lease_until = time.time() + lease_s
    slot.started_at = time.time()
    if study.started_at is None:
        study.started_at = slot.started_at
    return Lease(study.id, study.record_of(slot, JobState.RUNNING), worker)


def _finish(study: ReferenceStudy, slot: Slot, row: JobRecord, *, parent: JobId | None) -> None:
    study.changed_at = time.time()
    row = replace(row, finished_at=study.changed_at)
    study.log[row.id] = row
    study.points[row.id] = slot.points
    waiting = replace(slot.head, round=row.round + 1, state=HeadState.WAITING, parent=parent)
    fresh = study.slots[row.member] = Slot(waiting, row)
    _go_on(study, fresh)
    try:
        _settle(study)
    except DecisionError as e:
        study.stopped, study.undecided = str(e), True


def _go_on(study: ReferenceStudy, slot: Slot) -> None:
    slot.head = next_head(study.record, study.member_of(slot), parent=slot.head.parent)


def _settle(study: ReferenceStudy) -> None:
    if study.record.synchronous:
        _end_rounds(study)
        return
    for slot in study.slots:
        if slot.head.state is HeadState.WAITING:  # it has failed
            _decide(study, [slot])


def _end_rounds(study: ReferenceStudy) -> None:
    """Decide for the members that wait, as far as nobody they wait for is still at work.

    A failed member that found no donor at the end of its round tries again at the end of the next.
    """
    while True:
        waiting = [slot for slot in study.slots if slot.head.state is HeadState.WAITING]
        healthy = [slot.head.round for slot in waiting if slot.healthy]
        due = min(healthy, default=sys.maxsize)
        if any(slot.active and slot.head.round < due for slot in study.slots):
            return
        _decide(study, [slot for slot in waiting if slot.head.round <= due])
        if not healthy:
            return


def _decide(study: ReferenceStudy, slots: Sequence[Slot]) -> None:
    """Open the next jobs of these members, all against one snapshot of the population."""
    pairs = [(study.member_of(slot), slot.head.parent) for slot in slots]
    heads = round_heads(study.record, pairs, population=study.population)
    for slot, head in zip(slots, (_with_donor(study, head) for head in heads), strict=True):
        if slot.healthy and head.parent != slot.head.parent:
            slot.left = slot.head.parent
        slot.head = head


def _with_donor(study: ReferenceStudy, head: Head) -> Head:
    """Decide again without donors whose checkpoint is gone, such as those of an import."""
    population, slot = study.population, study.slots[head.member]
    me = study.member_of(slot)
    while head.parent not in (me.job, slot.head.parent) and (
        study.address(head.parent) not in study.checkpoints
    ):
        gone = head.parent
        population = Population([m for m in population if m.job != gone], population.history)
        head = decided_head(study.record, me, parent=slot.head.parent, population=population)
    return head

"""What workers do to the log, each within one transaction: heartbeat, report, fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

from evolvent.core.heads import HeadState
from evolvent.core.records import Cause, JobId, JobState
from evolvent.errors import CheckpointMissing, LeaseLost, UnknownJob
from evolvent.store.records import MAX_LOSSES, Failure, FailureKind, Lease, Point, Report
from evolvent.store.sql import rows
from evolvent.store.sql.advance import JobResult, finish_job
from evolvent.store.sql.database import Transaction
from evolvent.store.sql.rows import ID_STRIDE, HeadRow, StudyRow
from evolvent.store.sql.session import UnitOfWork
from evolvent.validation import invalid

_PROLONG = """
UPDATE member SET lease_until = :now + :lease_s
WHERE id = :id AND round = :round AND attempt = :attempt AND state = 'running' AND worker = :worker
"""
HEAD_OF_LEASE = f"""
SELECT {rows.HEAD}, {rows.STUDY} FROM member m JOIN study s ON s.id = m.study WHERE m.id = :id
"""
_WORKER_MEMBERS = """
SELECT member FROM member WHERE study = :study AND state = 'running' AND worker = :worker
ORDER BY member
"""
_REPORTED = """
SELECT attempt, worker FROM job
WHERE study = :study AND member = :member AND round = :round AND state = 'done'
"""
_COUNT_POINTS = """
SELECT count(*) FROM point
WHERE study = :study AND member = :member AND round = :round AND attempt = :attempt
"""
_INSERT_POINT = """
INSERT INTO point (study, member, round, attempt, step, metrics)
VALUES (:study, :member, :round, :attempt, :step, :metrics)
"""
_INSERT_FAILURE = """
INSERT INTO failure (study, member, round, attempt, kind, message, traceback, worker, at)
VALUES (:study, :member, :round, :attempt, :kind, :message, :traceback, :worker, :now)
"""
_NOTED = """
SELECT EXISTS (
    SELECT 1 FROM failure
    WHERE study = :study AND member = :member AND round = :round AND attempt = :attempt
    AND worker = :worker AND kind = :kind AND message = :message)
"""
_COUNT_NOTED = """
SELECT count(*) FROM failure
WHERE study = :study AND worker = :worker AND kind = :kind AND message = :message
"""
_REQUEUE = """
UPDATE member
SET state = 'queued', lease_until = NULL, worker = NULL,
    losses = :losses, failures = :failures, error = :error
WHERE id = :id
"""
_REPARENT = """
UPDATE member
SET parent_member = :parent_member, parent_round = :parent_round, checkpoint = :checkpoint,
    reason = :reason, cause = :cause
WHERE id = :id
"""


def heartbeat(
    tx: Transaction, lease: Lease, *, lease_s: float, points: Sequence[Point], offset: int | None
) -> None:
    """Prolong a lease and keep those of the points that are not there yet."""
    fence = _fence(lease)
    # One guarded statement: a lease that was given to another meanwhile changes no row. It also
    # locks the row, so that of two calls with the same points the second finds those of the first.
    values = {**fence, "now": tx.now(), "lease_s": lease_s}
    if tx.execute(_PROLONG, values).rowcount == 1:
        _insert_points(tx, fence, points, offset)
    elif (
        not points
        or offset is None
        or _is_of_another(tx, lease)
        or _count_points(tx, fence) < offset + len(points)
    ):
        raise lease_lost(lease)
    # Else they were stored before the lease was lost, and the answer got lost.


def report(work: UnitOfWork, lease: Lease, report: Report, *, metrics: str) -> None:
    """Append a finished job; nothing happens when this very attempt has been reported before.

    `metrics` are those of the report as text, encoded before anybody had to wait for it.
    """
    found = _find_leased(work, lease)
    if found is None:
        # The answer to the first report was lost: repeated, it counts once.
        row = work.execute(_REPORTED, _fence(lease)).fetchone()
        if row == (lease.attempt, lease.worker):
            return
        raise lease_lost(lease)
    # In the transaction, which keeps `collect` and `discard` out: a row must never point at files
    # that have been removed since they were sealed.
    if report.checkpoint not in work.cache.checkpoints:
        raise CheckpointMissing(f"{lease.job.id}: there is no checkpoint {report.checkpoint}")
    if report.points or report.offset:
        _insert_points(work, _fence(lease), report.points, report.offset)
    head, row = found
    result = JobResult(JobState.DONE, report.score, metrics, report.checkpoint)
    work.load_study(row)
    finish_job(work, head, result)


def fail(work: UnitOfWork, lease: Lease, failure: Failure) -> None:
    """Note a failed attempt, and requeue the job or end it; this very failure is noted once."""
    found = _find_leased(work, lease)
    if found is not None:
        note_failure(work, *found, failure)
    elif not work.execute(_NOTED, {**_fence(lease), **_kind_and_message(failure)}).fetchone()[0]:
        raise lease_lost(lease)


def release(work: UnitOfWork, worker: str, failure: Failure) -> int:
    """Note a failure for all jobs of a worker; return how many, or how many it was before."""
    values = {"study": work.study, "worker": rows.storable_text(worker)}
    numbers = [member for (member,) in work.execute(_WORKER_MEMBERS, values).fetchall()]
    for member in numbers:
        # Read anew each time: the failure of one may have moved the head of another.
        row = work.execute(HEAD_OF_LEASE, {"id": work.study * ID_STRIDE + member}).fetchone()
        head, study_row = rows.head_and_study(row)
        note_failure(work, head, study_row, failure)
    if numbers:
        return len(numbers)
    # None is left: perhaps by this call, and its answer got lost.
    return int(work.execute(_COUNT_NOTED, {**values, **_kind_and_message(failure)}).fetchone()[0])


def reparent(work: UnitOfWork, lease: Lease, parent: JobId, reason: str) -> Lease:
    """Let a claimed job start from another checkpoint than it was opened with."""
    found = _find_leased(work, lease)
    if found is None:
        raise lease_lost(lease)
    head, row = found
    if head.parent != parent:  # else this was done before, and the answer got lost
        address = _address(work, parent)
        # A call before the newest one may still be under way: who falls back falls further back.
        if head.parent is None or parent.round < head.parent.round:
            head = _move(work, head, row, parent, address, reason)
    return Lease(lease.study, rows.head_job(head), lease.worker)


def _move(
    work: UnitOfWork, head: HeadRow, row: StudyRow, parent: JobId, address: str, reason: str
) -> HeadRow:
    # RESTARTED stays: it also tells that no algorithm decided, which falling back does not change.
    cause = head.cause if head.cause == Cause.RESTARTED else Cause.FELL_BACK.value
    new = head._replace(
        parent_member=parent.member,
        parent_round=parent.round,
        checkpoint=address,
        reason=rows.storable_text(f"{head.reason}; {reason}" if head.reason else reason),
        cause=cause,
    )
    work.execute(_REPARENT, {**new._asdict(), "id": work.study * ID_STRIDE + head.member})
    work.load_study(row)
    work.drop_ref(head.checkpoint)
    work.add_ref(address)
    return new


def note_failure(work: UnitOfWork, head: HeadRow, row: StudyRow, failure: Failure) -> None:
    """Keep the failure of a running job; requeue the job, or end it as failed."""
    work.load_study(row)
    kind = failure.kind
    failures = head.failures + (kind is FailureKind.RAISED)
    losses = head.losses + (kind is FailureKind.LOST)
    error = rows.storable_text(failure.traceback or failure.message)
    values = {**head._asdict(), **_kind_and_message(failure)}
    values |= {
        "id": work.study * ID_STRIDE + head.member,
        "study": work.study,
        "now": work.now(),
        "traceback": rows.storable(failure.traceback),
        "failures": failures,
        "losses": losses,
        "error": error,
    }
    work.execute(_INSERT_FAILURE, values)
    if not _ends_job(kind, failures > work.record.max_failures, losses >= MAX_LOSSES):
        work.execute(_REQUEUE, values)
        return
    undamaged = kind is not FailureKind.DAMAGED
    finish_job(work, head, JobResult(JobState.FAILED, error=error, keeps_parent=undamaged))


def _insert_points(
    tx: Transaction, fence: Mapping[str, object], points: Sequence[Point], offset: int | None
) -> None:
    """Write points of the running attempt but those that are there; the row of its head is locked.

    Raises:
        ConfigError: some before the offset are not there.
    """
    if offset is not None and (points or offset):
        stored = _count_points(tx, fence)
        if not 0 <= offset <= stored:
            raise invalid(
                "offset",
                f"got {offset}, wanted 0 to {stored}, for so many points of this attempt are there:"
                " send those that come before, too",
            )
        points = points[stored - offset :]
    for point in points:
        values = {"step": point.step, "metrics": rows.encode(point.values)}
        tx.execute(_INSERT_POINT, {**fence, **values})


def _count_points(tx: Transaction, fence: Mapping[str, object]) -> int:
    return int(tx.execute(_COUNT_POINTS, fence).fetchone()[0])


def _kind_and_message(failure: Failure) -> dict[str, str]:
    return {"kind": failure.kind.value, "message": rows.storable_text(failure.message)}


def lease_lost(lease: Lease) -> LeaseLost:
    """Return the error for a lease that no longer counts."""
    return LeaseLost(
        f"{lease.job.id}: attempt {lease.attempt} of worker {lease.worker} no longer counts:"
        " the job went to another worker, or its study was removed"
    )


def _ends_job(kind: FailureKind, too_often: bool, lost_too_often: bool) -> bool:
    match kind:
        case FailureKind.RAISED:
            return too_often
        case FailureKind.LOST:
            return lost_too_often
        case FailureKind.INVALID | FailureKind.DAMAGED:
            return True
        case FailureKind.RETURNED:
            return False
        case _:
            assert_never(kind)


def _is_of_another(tx: Transaction, lease: Lease) -> bool:
    """Whether another worker has this very attempt: a crash of the server has undone the claim."""
    row = tx.execute(HEAD_OF_LEASE, {"id": lease.study * ID_STRIDE + lease.job.member}).fetchone()
    head = None if row is None else rows.head_and_study(row)[0]
    return head is not None and (
        (head.round, head.attempt) == (lease.job.round, lease.job.attempt)
        and head.worker not in {None, lease.worker}
    )


def _find_leased(tx: Transaction, lease: Lease) -> tuple[HeadRow, StudyRow] | None:
    row = tx.execute(HEAD_OF_LEASE, {"id": lease.study * ID_STRIDE + lease.job.member}).fetchone()
    if row is None:
        return None
    head, study_row = rows.head_and_study(row)
    # Fencing: of all leases ever given on a job the newest attempt counts, and only its worker's.
    fence = (head.round, head.attempt, head.state, head.worker)
    counts = fence == (lease.job.round, lease.job.attempt, HeadState.RUNNING, lease.worker)
    # A crash of the server may have undone the claim: made again, it has the same attempt and
    # perhaps the same worker, but may have been decided otherwise. Its time tells the two apart.
    began = lease.job.started_at
    counts = counts and (began is None or began == head.started_at)
    return (head, study_row) if counts else None


def _address(work: UnitOfWork, parent: JobId) -> str:
    values = {"study": work.study, "member": parent.member, "round": parent.round}
    row = work.execute(rows.CHECKPOINT_OF, values).fetchone()
    if row is None:
        raise UnknownJob(f"no finished job {parent} to start from")
    address: str | None = row[0]
    if address is None or address not in work.cache.checkpoints:
        raise CheckpointMissing(f"the checkpoint of {parent} is not on disk: none to start from")
    return address


def _fence(lease: Lease) -> dict[str, object]:
    job = lease.job
    return {
        "id": lease.study * ID_STRIDE + job.member,
        "study": lease.study,
        "member": job.member,
        "round": job.round,
        "attempt": job.attempt,
        "worker": lease.worker,  # a crash of the server can undo a claim: two have this attempt
    }

"""What people do to a study, each within one transaction."""

from __future__ import annotations

from dataclasses import replace

from evolvent.core.heads import Head, first_head, first_heads
from evolvent.core.records import Cause, Hyperparameters, JobId, JobRecord, JobState
from evolvent.core.study import StudyRecord
from evolvent.errors import CheckpointMissing, StudyExists, UnknownJob
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.dump import cannot_go_on
from evolvent.store.records import (
    PUSHED_BY,
    PUSHED_REASON,
    RESTARTED_REASON,
    Lease,
    Report,
    StudyState,
)
from evolvent.store.sql.advance import resume_members
from evolvent.store.sql.database import Transaction
from evolvent.store.sql.dump import DONE_CHECKPOINT, PARENTS, missing
from evolvent.store.sql.read import study_state
from evolvent.store.sql.report import report
from evolvent.store.sql.rows import (
    HEAD,
    HEAD_COLUMNS,
    ID_STRIDE,
    HeadRow,
    StudyRow,
    encode,
    head_values,
    storable_text,
    storable_text_or_none,
)
from evolvent.store.sql.session import UnitOfWork
from evolvent.validation import invalid

_INSERT_STUDY = """
INSERT INTO study (name, record, epoch, stopped, stopped_by, created_at, started_at)
VALUES (:name, :record, 0, :stopped, :stopped_by, :created_at, :started_at)
ON CONFLICT (name) DO NOTHING
RETURNING id
"""
_INSERT_HEAD = f"""
INSERT INTO member (id, study, member, {", ".join(HEAD_COLUMNS)}, attempt, losses, failures)
VALUES (:id, :study, :member, {", ".join(f":{column}" for column in HEAD_COLUMNS)}, 0, 0, 0)
"""
_TABLES = ("member", "job", "point", "failure", "pin")
_STOP = """
UPDATE study
SET stopped = :reason, stopped_by = CASE stopped_by WHEN 'import' THEN 'import' ELSE 'hand' END
WHERE id = :study
"""
_REOPEN = "UPDATE study SET stopped = NULL, stopped_by = NULL WHERE id = :study"
_RESTART = """
UPDATE member SET state = 'queued', reason = :reason, cause = :cause
WHERE study = :study AND round < :rounds
"""
_WRITE_RECORD = "UPDATE study SET record = :record, epoch = epoch + 1 WHERE id = :study"
_MIN_ROUNDS = """
SELECT max(round + CASE WHEN state IN ('queued', 'running') THEN 1 ELSE 0 END)
FROM member WHERE study = :study
"""
_IDLE = f"""
SELECT {HEAD} FROM member m
WHERE m.study = :study AND (m.state = 'waiting' OR m.state = 'ended' AND m.round >= :rounds)
ORDER BY m.member
"""
_NEXT_MEMBER = "SELECT max(member) + 1 FROM member WHERE study = :study"
_PIN = """
INSERT INTO pin (study, member, round, checkpoint) VALUES (:study, :member, :round, :checkpoint)
ON CONFLICT DO NOTHING
"""
_UNPIN = """
DELETE FROM pin WHERE study = :study AND member = :member AND round = :round
RETURNING checkpoint
"""
_NEEDED = """
SELECT checkpoint FROM member WHERE study = :study AND checkpoint IS NOT NULL
UNION SELECT best_checkpoint FROM study WHERE id = :study AND best_checkpoint IS NOT NULL
UNION SELECT checkpoint FROM pin WHERE study = :study
"""
LOCK_QUEUED = "SELECT id FROM member WHERE study = :study AND state = 'queued'"
_OLDEST_RUNNING = "SELECT min(started_at) FROM member WHERE study = :study AND state = 'running'"
_RUN_PUSHED = """
UPDATE member
SET state = 'running', attempt = 1, worker = :worker, reason = :reason, cause = :cause,
    started_at = :now
WHERE id = :id
"""
_MARK_STARTED = "UPDATE study SET started_at = :now WHERE id = :study AND started_at IS NULL"


def create(tx: Transaction, record: StudyRecord) -> int:
    """Write a study and the first heads of its members."""
    study = insert_study(tx, record, created_at=tx.now())
    for head in first_heads(record):
        _insert_head(tx, study, head)
    return study


def insert_study(
    tx: Transaction,
    record: StudyRecord,
    *,
    created_at: float,
    started_at: float | None = None,
    stopped: str | None = None,
    stopped_by: str | None = None,
) -> int:
    """Write a study without members; return its number.

    Raises:
        StudyExists: the name is taken.
    """
    values = {
        "name": storable_text(record.name),
        "record": encode(record.to_json()),
        "stopped": storable_text_or_none(stopped),
        "stopped_by": stopped_by,
        "created_at": created_at,
        "started_at": started_at,
    }
    row = tx.execute(_INSERT_STUDY, values).fetchone()
    if row is None:
        raise StudyExists(f"name: there is a study {record.name!r} already: choose another name")
    return int(row[0])


def delete(tx: Transaction, study: int) -> None:
    """Remove everything about a study."""
    for table in _TABLES:
        tx.execute(f"DELETE FROM {table} WHERE study = :study", {"study": study})
    tx.execute("DELETE FROM study WHERE id = :study", {"study": study})


def stop(work: UnitOfWork, reason: str) -> None:
    """Give out no more jobs."""
    work.execute(_STOP, {"study": work.study, "reason": storable_text(reason)})


def resume(work: UnitOfWork) -> None:
    """Undo `stop`; revive a study in which all have failed."""
    values = {"study": work.study, "rounds": work.record.rounds}
    state = study_state(work, work.study, work.row.stopped)
    if work.row.stopped_by == "import":
        if state is StudyState.FINISHED:
            return
        _refuse_without_checkpoints(work)
    if state is StudyState.FAILED:
        why = {"reason": RESTARTED_REASON, "cause": Cause.RESTARTED.value}
        work.execute(_RESTART, {**values, **why})
        work.bump_epoch()  # heads moved and the log did not grow
    work.execute(_REOPEN, values)


def extend(work: UnitOfWork, rounds: int) -> None:
    """Set the number of rounds; members that had ended for want of them go on."""
    study, before = work.study, work.record.rounds
    (least,) = work.execute(_MIN_ROUNDS, {"study": study}).fetchone()
    if rounds < max(least, 1):
        raise invalid(
            "rounds",
            f"got {rounds}, wanted {max(least, 1)} or more: so many are trained or given "
            "out already",
        )
    work.record = replace(work.record, rounds=rounds)
    _write_record(work)
    idle = work.execute(_IDLE, {"study": study, "rounds": before}).fetchall()
    resume_members(work, [HeadRow._make(row) for row in idle])


def remember(work: UnitOfWork, trainable: str) -> None:
    """Keep the import path of the training code."""
    work.record = replace(work.record, trainable=trainable)
    _write_record(work)


def retarget(work: UnitOfWork, target: float | None) -> None:
    """Set or remove the target; open the study again if it had stopped at the old one."""
    work.record = replace(work.record, target=target)
    _write_record(work)
    row: StudyRow = work.row
    if row.stopped_by == "target" and not work.record.reached(row.best_score):
        work.execute(_REOPEN, {"study": work.study})


def push(work: UnitOfWork, hyperparameters: Hyperparameters) -> JobId:
    """Add a member with hyperparameters given by hand."""
    (number,) = work.execute(_NEXT_MEMBER, {"study": work.study}).fetchone()
    head = first_head(work.record, number, dict(hyperparameters))
    _insert_head(work, work.study, head)
    return JobId(number, 0)


def pin(work: UnitOfWork, job: JobId, *, checkpoints: LocalCheckpoints) -> None:
    """Keep a checkpoint for as long as the user likes."""
    study = work.study
    values = {"study": study, "member": job.member, "round": job.round}
    row = work.execute(DONE_CHECKPOINT, values).fetchone()
    if row is None:
        raise UnknownJob(f"no done job {job} to pin")
    # In the transaction: once the pin is there, nobody removes it.
    if row[0] not in checkpoints:
        raise CheckpointMissing(f"the checkpoint of {job} has been collected already")
    work.execute(_PIN, {**values, "checkpoint": row[0]})


def unpin(work: UnitOfWork, job: JobId) -> None:
    """Let a checkpoint go when nothing else needs it."""
    values = {"study": work.study, "member": job.member, "round": job.round}
    for (address,) in work.execute(_UNPIN, values).fetchall():
        work.drop_ref(address)


def needed_checkpoints(tx: Transaction, study: int) -> tuple[set[str], float]:
    """Return the checkpoints that are needed, and since when a running job may have staged one.

    Until the transaction is over, nobody claims a job.
    """
    values = {"study": study}
    # On PostgreSQL claims take no study lock, only that of their row: hold all rows that could be
    # claimed, else a job given out now would stage files as old as the leftovers.
    tx.execute(LOCK_QUEUED, values).fetchall()
    addresses = {address for (address,) in tx.execute(_NEEDED, values)}
    (oldest,) = tx.execute(_OLDEST_RUNNING, values).fetchone()
    return addresses, tx.now() if oldest is None else oldest


def _refuse_without_checkpoints(work: UnitOfWork) -> None:
    """Let no study go on that was imported without what its members start from."""
    parents = work.execute(PARENTS, {"study": work.study}).fetchall()
    if missing_jobs := missing(parents, work.cache.checkpoints):
        raise cannot_go_on(work.record.name, missing_jobs)


def _insert_head(tx: Transaction, study: int, head: Head) -> None:
    values = {"id": study * ID_STRIDE + head.member, "study": study, "member": head.member}
    tx.execute(_INSERT_HEAD, {**values, **head_values(head)})


def _write_record(work: UnitOfWork) -> None:
    record = encode(work.record.to_json())
    work.execute(_WRITE_RECORD, {"study": work.study, "record": record})


def push_done(
    work: UnitOfWork, hyperparameters: Hyperparameters, done: Report, *, metrics: str
) -> JobId:
    """Add a member whose round 0 is done, and decide what it does next; `metrics` as text."""
    job = push(work, hyperparameters)
    values = {"id": work.study * ID_STRIDE + job.member, "study": work.study, "now": work.now()}
    why = {"reason": PUSHED_REASON, "cause": Cause.PUSHED.value}
    work.execute(_RUN_PUSHED, {**values, **why, "worker": PUSHED_BY})
    work.execute(_MARK_STARTED, values)
    running = JobRecord(job.member, 0, JobState.RUNNING, hyperparameters, attempt=1)
    report(work, Lease(work.study, running, PUSHED_BY), done, metrics=metrics)
    return job

"""What people do to a study."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from evolvent.core.heads import Head, first_head, first_heads
from evolvent.core.records import Cause, Hyperparameters, JobId, JobRecord, JobState
from evolvent.core.study import StudyRecord
from evolvent.errors import CheckpointMissing, StoreUnavailable, StudyExists, UnknownJob
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.dump import cannot_go_on
from evolvent.store.interventions import InterventionKind
from evolvent.store.records import (
    PUSHED_BY,
    PUSHED_REASON,
    RESTARTED_REASON,
    Lease,
    Report,
    StoppedBy,
    StudyState,
)
from evolvent.store.sql import rows
from evolvent.store.sql.advance import decide_waiting, resume_members
from evolvent.store.sql.database import ConnectionLost, Transaction
from evolvent.store.sql.dump import PARENTS, missing
from evolvent.store.sql.idempotency import fingerprint, run_idempotent
from evolvent.store.sql.interventions import note
from evolvent.store.sql.read import study_state
from evolvent.store.sql.report import report
from evolvent.store.sql.retry import retry, retry_idempotent
from evolvent.store.sql.rows import ID_STRIDE, HeadRow
from evolvent.store.sql.session import DatabaseSession, UnitOfWork
from evolvent.validation import invalid

_INSERT_STUDY = """
INSERT INTO study (name, record, epoch, stopped, stopped_by, created_at, started_at)
VALUES (:name, :record, 0, :stopped, :stopped_by, :created_at, :started_at)
ON CONFLICT (name) DO NOTHING
RETURNING id
"""
_INSERT_HEAD = f"""
INSERT INTO member (id, study, member, {", ".join(rows.HEAD_COLUMNS)}, attempt, losses, failures)
VALUES (:id, :study, :member, {", ".join(f":{column}" for column in rows.HEAD_COLUMNS)}, 0, 0, 0)
"""
_TABLES = ("member", "job", "point", "failure", "intervention", "pin")
_STOP = """
UPDATE study
SET stopped = :reason,
    stopped_by = CASE WHEN stopped_by IN ('import', 'decision') THEN stopped_by ELSE 'hand' END
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
SELECT {rows.HEAD} FROM member m
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
UNION SELECT own_checkpoint FROM member WHERE study = :study AND own_checkpoint IS NOT NULL
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
MAX_FILES_S = 600.0  # many files may have to be linked or moved
_MARK_STARTED = "UPDATE study SET started_at = :now WHERE id = :study AND started_at IS NULL"


class SqlControl:
    """What people do to a study, each method in one transaction."""

    _session: DatabaseSession
    is_remote: bool

    @retry_idempotent
    def create_study(self, record: StudyRecord, *, key: str | None = None) -> int:
        def create() -> int:
            study = insert_study(tx, record, created_at=tx.now())
            for head in first_heads(record):
                _insert_head(tx, study, head)
            return study

        call = fingerprint("create", record)  # before anybody has to wait for the lock
        self._session.database.ensure_checkpoint_root()
        with self._session.database.write(synced=record.durability == "power") as tx:
            return run_idempotent(tx, key, call, create)

    @retry
    def delete_study(self, study: int) -> None:
        try:
            with self._session.loaded(study) as work:  # refuses a study that is not there
                for table in _TABLES:
                    work.execute(f"DELETE FROM {table} WHERE study = :study", {"study": study})
                work.execute("DELETE FROM study WHERE id = :study", {"study": study})
        except ConnectionLost as e:
            # Not made again: a second time would find no study, and say so.
            if e.maybe_committed:
                raise StoreUnavailable(str(e)) from e
            raise
        # Released after COMMIT, as all checkpoints.
        self._session.forget(study)
        work.cache.checkpoints.remove_all()

    @retry_idempotent
    def push(
        self,
        study: int,
        hyperparameters: Hyperparameters,
        *,
        done: Report | None = None,
        key: str | None = None,
        by: str | None = None,
    ) -> JobId:
        metrics = "" if done is None else rows.encode(done.metrics)

        def push() -> str:
            if done is None:
                job = _push(work, hyperparameters)
            else:
                job = _push_done(work, hyperparameters, done, metrics=metrics)
            note(work, study, InterventionKind.PUSHED, by=by, job=job)
            return job

        call = fingerprint("push", study, hyperparameters, done)
        with self._session.loaded(study) as work:
            return JobId.parse(run_idempotent(work, key, call, push))

    @retry
    def stop(self, study: int, *, reason: str, by: str | None = None) -> None:
        reason = rows.storable_text(reason)
        with self._session.loaded(study) as work:
            if work.row.stopped == reason and work.row.stopped_by != "target":
                return
            work.execute(_STOP, {"study": study, "reason": reason})
            note(work, study, InterventionKind.STOPPED, by=by, reason=reason)

    @retry
    def resume(self, study: int, *, by: str | None = None) -> None:
        with self._session.loaded(study) as work:
            values = {"study": study, "rounds": work.record.rounds}
            state, row, restarted = study_state(work, study, work.row), work.row, 0
            if row.stopped_by == "import":
                if state is StudyState.FINISHED:
                    return
                parents = work.execute(PARENTS, values).fetchall()
                if lacking := missing(parents, work.cache.checkpoints):
                    raise cannot_go_on(work.record.name, lacking)
            if state is StudyState.FAILED:
                why = {"reason": RESTARTED_REASON, "cause": Cause.RESTARTED.value}
                restarted = work.execute(_RESTART, {**values, **why}).rowcount
            if row.stopped is not None or restarted:
                stop = {"reason": row.stopped, "stopped_by": row.stopped_by}
                note(work, study, InterventionKind.RESUMED, by=by, **stop)
            work.execute(_REOPEN, values)
            decide_waiting(work)

    @retry
    def extend(self, study: int, *, rounds: int, by: str | None = None) -> None:
        with self._session.loaded(study) as work:
            before = work.record.rounds
            least = max(work.execute(_MIN_ROUNDS, {"study": study}).fetchone()[0], 1)
            if rounds < least:
                wanted = f"wanted {least} or more: so many are trained or given out already"
                raise invalid("rounds", f"got {rounds}, {wanted}")
            if rounds != before:
                note(work, study, InterventionKind.EXTENDED, by=by, before=before, after=rounds)
            _change_record(work, rounds=rounds)
            # Members that had ended for want of rounds go on.
            idle = work.execute(_IDLE, {"study": study, "rounds": before}).fetchall()
            resume_members(work, [HeadRow._make(row) for row in idle])

    @retry
    def retarget(self, study: int, *, target: float | None, by: str | None = None) -> None:
        with self._session.loaded(study) as work:
            before = work.record.target
            if target != before:
                note(work, study, InterventionKind.RETARGETED, by=by, before=before, after=target)
            _change_record(work, target=target)
            row = work.row
            if row.stopped_by == "target" and not row.at_target(work.record):
                work.execute(_REOPEN, {"study": study})

    @retry
    def remember(self, study: int, *, trainable: str) -> None:
        with self._session.loaded(study) as work:
            _change_record(work, trainable=trainable)

    @retry
    def pin(self, study: int, job: JobId) -> None:
        values = {"study": study, "member": job.member, "round": job.round}
        with self._session.loaded(study) as work:
            row = work.execute(rows.CHECKPOINT_OF, values).fetchone()
            if row is None or row[0] is None:  # not finished, or failed
                raise UnknownJob(f"no done job {job} to pin")
            # In the transaction: once the pin is there, nobody removes it.
            if row[0] not in self.checkpoints(study):
                raise CheckpointMissing(f"the checkpoint of {job} has been collected already")
            work.execute(_PIN, {**values, "checkpoint": row[0]})

    @retry
    def unpin(self, study: int, job: JobId) -> None:
        values = {"study": study, "member": job.member, "round": job.round}
        with self._session.loaded(study) as work:
            for (address,) in work.execute(_UNPIN, values).fetchall():
                work.drop_ref(address)

    @retry
    def checkpoints(self, study: int) -> LocalCheckpoints:
        checkpoints = self._session.cache(study).checkpoints
        self._session.database.ensure_checkpoint_root()
        return checkpoints

    @retry
    def collect(self, study: int) -> int:
        checkpoints = self.checkpoints(study)
        # Exclusive before unlink, from what is needed until the last file is gone.
        with self._session.database.exclusive(study, max_wait_s=MAX_FILES_S) as tx:
            addresses, oldest = needed_checkpoints(tx, study)
            return checkpoints.sweep(addresses, staged_before=oldest)


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


def insert_study(
    tx: Transaction,
    record: StudyRecord,
    *,
    created_at: float,
    started_at: float | None = None,
    stopped: str | None = None,
    stopped_by: StoppedBy | None = None,
) -> int:
    """Write a study without members; return its number.

    Raises:
        StudyExists: the name is taken.
    """
    values = {
        "name": rows.storable_text(record.name),
        "record": rows.encode(record.to_json()),
        "stopped": rows.storable(stopped),
        "stopped_by": stopped_by,
        "created_at": created_at,
        "started_at": started_at,
    }
    row = tx.execute(_INSERT_STUDY, values).fetchone()
    if row is None:
        raise StudyExists(f"name: there is a study {record.name!r} already: choose another name")
    return int(row[0])


def _insert_head(tx: Transaction, study: int, head: Head) -> None:
    values = {"id": study * ID_STRIDE + head.member, "study": study, "member": head.member}
    tx.execute(_INSERT_HEAD, {**values, **rows.head_values(head)})


def _change_record(work: UnitOfWork, **changed: Any) -> None:
    work.record = replace(work.record, **changed)
    record = rows.encode(work.record.to_json())
    work.execute(_WRITE_RECORD, {"study": work.study, "record": record})


def _push(work: UnitOfWork, hyperparameters: Hyperparameters) -> JobId:
    (number,) = work.execute(_NEXT_MEMBER, {"study": work.study}).fetchone()
    _insert_head(work, work.study, first_head(work.record, number, dict(hyperparameters)))
    return JobId(number, 0)


def _push_done(
    work: UnitOfWork, hyperparameters: Hyperparameters, done: Report, *, metrics: str
) -> JobId:
    """Add a member whose round 0 is done, and decide what it does next; `metrics` as text."""
    job = _push(work, hyperparameters)
    values = {"id": work.study * ID_STRIDE + job.member, "study": work.study, "now": work.now()}
    why = {"reason": PUSHED_REASON, "cause": Cause.PUSHED.value}
    work.execute(_RUN_PUSHED, {**values, **why, "worker": PUSHED_BY})
    work.execute(_MARK_STARTED, values)
    running = JobRecord(job.member, 0, JobState.RUNNING, hyperparameters, attempt=1)
    report(work, Lease(work.study, running, PUSHED_BY), done, metrics=metrics)
    return job

"""A whole study taken out of a SQL store: everything about it, from one snapshot."""

from __future__ import annotations

from collections.abc import Iterable

from evolvent.core.heads import Head, HeadState
from evolvent.core.records import Cause, JobId
from evolvent.core.study import StudyRecord
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.dump import Chosen, JobPoint, MemberDump, StudyDump, not_done
from evolvent.store.records import Point
from evolvent.store.sql import rows
from evolvent.store.sql.database import Reading, Transaction
from evolvent.store.sql.rows import HeadRow, Row

_STUDY = "SELECT created_at, started_at, stopped, stopped_by FROM study WHERE id = :study"
_POINTS = """
SELECT p.member, p.round, p.step, p.metrics FROM point p
WHERE p.study = :study AND (
    p.attempt = (
        SELECT attempt FROM job WHERE study = :study AND member = p.member AND round = p.round)
    OR EXISTS (
        SELECT 1 FROM member m WHERE m.id = :begin + p.member AND m.round = p.round
        AND m.attempt = p.attempt AND m.state <> 'running'))
ORDER BY p.member, p.round, p.id
"""
_FAILURES = f"SELECT {rows.FAILURE} FROM failure WHERE study = :study ORDER BY id"
_INTERVENTIONS = f"SELECT {rows.INTERVENTION} FROM intervention WHERE study = :study ORDER BY id"
_PINS = "SELECT member, round, checkpoint FROM pin WHERE study = :study ORDER BY member, round"
_BEST = "SELECT best_member, best_round, best_checkpoint FROM study WHERE id = :study"
PARENTS = """
SELECT parent_member, parent_round, checkpoint FROM member
WHERE study = :study AND checkpoint IS NOT NULL ORDER BY member
"""
_OWN = """
SELECT member, round - 1, own_checkpoint FROM member
WHERE study = :study AND own_checkpoint IS NOT NULL ORDER BY member
"""
_WHAT_IS_DONE = """
SELECT (SELECT count(*) FROM member WHERE study = :study), (
    SELECT max(round) FROM job WHERE study = :study AND member = :member AND state = 'done')
"""


def dump(tx: Reading, study: int, record: StudyRecord) -> StudyDump:
    """Return the study as this snapshot shows it; its parts are read as they are gone through."""
    values = rows.id_range(study)
    created_at, started_at, stopped, stopped_by = tx.execute(_STUDY, values).fetchone()
    return StudyDump(
        record=record,
        created_at=created_at,
        started_at=started_at,
        stopped=stopped,
        stopped_by=stopped_by,
        pins=[JobId(member, round_) for member, round_, _ in tx.execute(_PINS, values)],
        interventions=list(map(rows.intervention, tx.execute(_INTERVENTIONS, values))),
        members=(_member(HeadRow._make(row)) for row in tx.each(rows.HEADS, values)),
        jobs=map(rows.finished_job, tx.each(rows.LOG, values)),
        points=(
            JobPoint(JobId(member, round_), Point(step, rows.decode(metrics)))
            for member, round_, step, metrics in tx.each(_POINTS, values)
        ),
        failures=map(rows.failed_attempt, tx.each(_FAILURES, values)),
    )


def chosen(tx: Transaction, study: int, which: Chosen) -> dict[JobId, str]:
    """Return the addresses of the checkpoints that are to come along, by job; all must be done."""
    kept = (_BEST, PARENTS, _OWN, _PINS)
    queries = {"none": (), "best": (_BEST,), "pinned": (_PINS,), "kept": kept}
    if not isinstance(which, str):
        return {job: _address(tx, study, job) for job in which}
    picked = (row for sql in queries[which] for row in tx.execute(sql, {"study": study}))
    found = ((rows.job_id(member, round_), address) for member, round_, address in picked)
    return {job: address for job, address in found if job is not None}


def missing(parents: Iterable[Row], checkpoints: LocalCheckpoints) -> list[JobId]:
    """Return the jobs that members go on from and whose checkpoints are not on disk."""
    jobs = (JobId(member, round_) for member, round_, a in parents if a not in checkpoints)
    return list(dict.fromkeys(jobs))


def _address(tx: Transaction, study: int, job: JobId) -> str:
    values = {"study": study, "member": job.member, "round": job.round}
    address: str | None = (tx.execute(rows.CHECKPOINT_OF, values).fetchone() or (None,))[0]
    if address is None:
        members, last = tx.execute(_WHAT_IS_DONE, values).fetchone()
        raise not_done(job, members=members, last=last)
    return address


def _member(row: HeadRow) -> MemberDump:
    state = HeadState(row.state)
    running = state is HeadState.RUNNING
    head = Head(
        row.member,
        row.round,
        HeadState.QUEUED if running else state,
        rows.decode(row.hyperparameters),
        row.parent,
        row.reason,
        Cause(row.cause),
    )
    attempt, started_at = row.attempt - running, None if running else row.started_at
    return MemberDump(head, attempt, row.losses, row.failures, started_at, row.error)

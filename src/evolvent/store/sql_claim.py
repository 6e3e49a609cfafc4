"""Giving out jobs: one transaction hands the next one over, or finds that there is none."""

from __future__ import annotations

from dataclasses import dataclass

from evolvent.core.heads import HeadState
from evolvent.store.protocol import Failure, FailureKind, Lease
from evolvent.store.sql_rows import HEAD, STUDY, HeadRow, head_and_study, running_job
from evolvent.store.sql_session import Work
from evolvent.store.sql_work import note_failure
from evolvent.store.sqlite import Transaction

_NEXT = f"""
WITH first AS (
    SELECT round, member FROM (
        SELECT * FROM (
            SELECT round, member FROM member WHERE study = :study AND state = 'queued'
            ORDER BY round, member LIMIT 1
        ) AS queued
        UNION ALL
        SELECT * FROM (
            SELECT round, member FROM member
            WHERE study = :study AND state = 'running' AND lease_until <= :now
            ORDER BY round, member LIMIT 1
        ) AS expired
    ) AS either ORDER BY round, member LIMIT 1
)
SELECT {HEAD}, {STUDY}
FROM first
JOIN member m ON m.study = :study AND m.member IN (first.member, :prefer)
JOIN study s ON s.id = m.study
WHERE s.stopped IS NULL AND m.round = first.round
  AND (m.state = 'queued' OR m.state = 'running' AND m.lease_until <= :now)
ORDER BY m.member <> :prefer, m.member LIMIT 1
"""
_HAND_OUT = """
UPDATE member
SET state = 'running', attempt = attempt + 1, worker = :worker, started_at = :now,
    lease_until = :now + :lease_s
WHERE study = :study AND member = :member
"""
_START = "UPDATE study SET started_at = :now WHERE id = :study AND started_at IS NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Who asks for a job, for how long, and which member it would rather go on with."""

    worker: str
    lease_s: float
    prefer: int | None


def anything(tx: Transaction, study: int) -> bool:
    """Whether there is something to claim now; reads only, so that idle workers disturb nobody."""
    values = {"study": study, "now": tx.now(), "prefer": None}
    return tx.execute(_NEXT, values).fetchone() is not None


def claim(work: Work, wish: Wish) -> Lease | None:
    """Give out the first job that is free, noting on the way which ones their workers have lost."""
    while True:
        values = {"study": work.study, "now": work.tx.now(), "prefer": wish.prefer}
        found = work.tx.execute(_NEXT, values).fetchone()
        if found is None:
            return None
        head, row = head_and_study(found)
        if head.state == HeadState.QUEUED:
            return _hand_out(work, wish, head, first=row.started_at is None)
        silent = Failure(FailureKind.LOST, f"worker {head.worker} fell silent")
        note_failure(work.breeding(row), head, silent)


def _hand_out(work: Work, wish: Wish, head: HeadRow, *, first: bool) -> Lease:
    now = work.tx.now()
    values = {
        "study": work.study,
        "member": head.member,
        "worker": wish.worker,
        "lease_s": wish.lease_s,
        "now": now,
    }
    work.tx.execute(_HAND_OUT, values)
    if first:
        work.tx.execute(_START, values)
    given = head._replace(
        state="running", attempt=head.attempt + 1, worker=wish.worker, started_at=now
    )
    return Lease(work.study, running_job(given), wish.worker)

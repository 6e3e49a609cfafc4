"""Giving out jobs: one transaction hands the next one over, or finds that there is none."""

from __future__ import annotations

from dataclasses import dataclass

from evolvent.core.heads import HeadState
from evolvent.store.protocol import Failure, FailureKind, Lease
from evolvent.store.sql_rows import HEAD, LINES, STUDY, HeadRow, Row, head_and_study, running_job
from evolvent.store.sql_session import Work
from evolvent.store.sql_work import note_failure
from evolvent.store.sqlite import Transaction

_FREE = f"""
SELECT {HEAD}, {STUDY} FROM member m JOIN study s ON s.id = m.study
WHERE m.study = :study AND s.stopped IS NULL
"""
_QUEUED = f"{_FREE} AND m.state = 'queued' ORDER BY m.round, m.member LIMIT 1"
_EXPIRED = f"""
{_FREE} AND m.state = 'running' AND m.lease_until <= :now ORDER BY m.round, m.member LIMIT 1
"""
_PREFERRED = f"""
{_FREE} AND m.id = :preferred AND m.round = :round
AND (m.state = 'queued' OR m.state = 'running' AND m.lease_until <= :now)
"""
_HAND_OUT = """
UPDATE member
SET state = 'running', attempt = attempt + 1, worker = :worker, started_at = :now,
    lease_until = :now + :lease_s
WHERE id = :id
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
    values = {"study": study, "now": tx.now()}
    return any(tx.execute(sql, values).fetchone() for sql in (_QUEUED, _EXPIRED))


def claim(work: Work, wish: Wish) -> HeadRow | None:
    """Give out the first job that is free, noting on the way which ones their workers have lost.

    Returns:
        The head as it has been given out; None when there is nothing to claim.
    """
    while (found := _first(work, wish)) is not None:
        head, row = head_and_study(found)
        if head.state == HeadState.QUEUED:
            return _hand_out(work, wish, head, first=row.started_at is None)
        silent = Failure(FailureKind.LOST, f"no sign of life from worker {head.worker}")
        note_failure(work.breeding(row), head, silent)
    return None


def _first(work: Work, wish: Wish) -> Row | None:
    execute = work.tx.execute
    values = {"study": work.study, "now": work.tx.now()}
    found = [row for sql in (_QUEUED, _EXPIRED) if (row := execute(sql, values).fetchone())]
    if not found:
        return None
    first: Row = min(found, key=_round_and_member)
    if wish.prefer is None or first[0] == wish.prefer:
        return first
    values |= {"preferred": work.study * LINES + wish.prefer, "round": first[1]}
    preferred: Row | None = execute(_PREFERRED, values).fetchone()
    return preferred or first


def _round_and_member(row: Row) -> tuple[int, int]:
    return row[1], row[0]


def lease(study: int, given: HeadRow, worker: str) -> Lease:
    """Return what `claim` has given out as the worker wants it; not while others wait."""
    return Lease(study, running_job(given), worker)


def _hand_out(work: Work, wish: Wish, head: HeadRow, *, first: bool) -> HeadRow:
    now = work.tx.now()
    values = {
        "study": work.study,
        "id": work.study * LINES + head.member,
        "worker": wish.worker,
        "lease_s": wish.lease_s,
        "now": now,
    }
    work.tx.execute(_HAND_OUT, values)
    if first:
        work.tx.execute(_START, values)
    attempt = head.attempt + 1
    return head._replace(state="running", attempt=attempt, worker=wish.worker, started_at=now)

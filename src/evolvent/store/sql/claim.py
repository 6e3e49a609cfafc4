"""Giving out jobs: one transaction hands the next one over, or finds that there is none."""

from __future__ import annotations

from typing import Any, NamedTuple

from evolvent.core.heads import HeadState
from evolvent.store.records import Failure, FailureKind, Lease
from evolvent.store.sql.database import Database, Transaction
from evolvent.store.sql.report import note_failure
from evolvent.store.sql.rows import (
    HEAD,
    ID_STRIDE,
    STUDY,
    HeadRow,
    Row,
    head_and_study,
    running_job,
    storable_text,
)
from evolvent.store.sql.session import UnitOfWork

CLAIMED = HEAD.replace("m.", "")
_CLAIMABLE = f"""
SELECT {HEAD}, {STUDY} FROM member m JOIN study s ON s.id = m.study
WHERE m.study = :study AND s.stopped IS NULL
"""
QUEUED = f"{_CLAIMABLE} AND m.state = 'queued' ORDER BY m.round, m.member LIMIT 1"
EXPIRED = f"""
{_CLAIMABLE} AND m.state = 'running' AND m.lease_until <= :now ORDER BY m.round, m.member LIMIT 1
"""
PREFERRED = f"""
{_CLAIMABLE} AND m.id = :preferred AND m.round = :round
AND (m.state = 'queued' OR m.state = 'running' AND m.lease_until <= :now)
"""
_HAS_CLAIMABLE = f"SELECT EXISTS ({QUEUED}) OR EXISTS ({EXPIRED})"
_SET = """
UPDATE member
SET state = 'running', attempt = attempt + 1, worker = :worker, started_at = :now,
    lease_until = :now + :lease_s, claim = :claim
"""
_BY_KEY = f"""
SELECT {CLAIMED} FROM member
WHERE claim = :claim AND study = :study AND worker = :worker AND state = 'running'
"""
_HAND_OUT = f"{_SET} WHERE id = :id AND state = 'queued' RETURNING {CLAIMED}"
FAST_CLAIM = f"""
{_SET}
WHERE id = (
    SELECT coalesce(
        (SELECT p.id FROM member p
         WHERE p.id = :preferred AND p.state = 'queued' AND p.round = first.round),
        first.id)
    FROM member first WHERE first.study = :study AND first.state = 'queued'
    ORDER BY first.round, first.member LIMIT 1)
AND NOT EXISTS (
    SELECT 1 FROM member WHERE study = :study AND state = 'running' AND lease_until <= :now)
AND EXISTS (
    SELECT 1 FROM study WHERE id = :study AND stopped IS NULL AND started_at IS NOT NULL)
RETURNING {CLAIMED}
"""
_START = "UPDATE study SET started_at = :now WHERE id = :study AND started_at IS NULL"


class ClaimRequest(NamedTuple):
    """Who asks for a job, for how long, and which member it would rather go on with."""

    study: int
    worker: str
    lease_s: float
    prefer: int | None
    key: str | None = None

    def values(self) -> dict[str, Any]:
        """Return what the statements need besides the time."""
        first = self.study * ID_STRIDE
        return {
            "study": self.study,
            "worker": storable_text(self.worker),
            "lease_s": self.lease_s,
            "claim": self.key,
            "preferred": None if self.prefer is None else first + self.prefer,
        }


def find_by_key(tx: Transaction, request: ClaimRequest) -> HeadRow | None:
    """Return what this very claim got before, while it counts."""
    row = tx.execute(_BY_KEY, request.values()).fetchone()
    return None if row is None else HeadRow._make(row)


def claim_fast(database: Database, request: ClaimRequest) -> HeadRow | None:
    """Claim by one statement, as nearly always: when the study runs and no lease has expired."""
    rows = database.autocommit(FAST_CLAIM, request.values())
    if not rows:
        return None
    claimed = HeadRow._make(rows[0])
    # Before anything is staged for this job: `collect` removes what is older than it.
    database.observe_server_time(claimed.started_at or 0.0)
    return claimed


def claim_job(work: UnitOfWork, request: ClaimRequest) -> HeadRow | None:
    """Give out the first job that is free, noting on the way which ones their workers have lost.

    Returns:
        The head as it has been given out; None when there is nothing to claim.
    """
    work.load_study()  # refuses a study that is not there
    while (found := _first_claimable(work, request)) is not None:
        head, row = head_and_study(found)
        if head.state == HeadState.QUEUED:
            claimed = _hand_out(work, request, head)
            if claimed is not None:
                return claimed
            continue  # somebody else has claimed it meanwhile, by one statement
        failure = Failure(FailureKind.LOST, f"no sign of life from worker {head.worker}")
        note_failure(work, head, row, failure)
    return None


def lease(claimed: HeadRow, request: ClaimRequest) -> Lease:
    """Return what has been claimed as the worker wants it; not while others wait."""
    return Lease(request.study, running_job(claimed), str(claimed.worker))


def has_claimable(tx: Transaction, study: int) -> bool:
    """Whether there is something to claim now; reads only, so that idle workers disturb nobody."""
    values = {"study": study, "now": tx.now()}
    return bool(tx.execute(_HAS_CLAIMABLE, values).fetchone()[0])


def _first_claimable(tx: Transaction, request: ClaimRequest) -> Row | None:
    values = {**request.values(), "now": tx.now()}
    found = [row for sql in (QUEUED, EXPIRED) if (row := tx.execute(sql, values).fetchone())]
    if not found:
        return None
    first: Row = min(found, key=_round_and_member)
    values["round"] = first[1]
    preferred: Row | None = tx.execute(PREFERRED, values).fetchone()
    return preferred or first


def _round_and_member(row: Row) -> tuple[int, int]:
    return row[1], row[0]


def _hand_out(tx: Transaction, request: ClaimRequest, head: HeadRow) -> HeadRow | None:
    values = {**request.values(), "now": tx.now(), "id": request.study * ID_STRIDE + head.member}
    claimed = tx.execute(_HAND_OUT, values).fetchall()
    tx.execute(_START, values)
    return HeadRow._make(claimed[0]) if claimed else None

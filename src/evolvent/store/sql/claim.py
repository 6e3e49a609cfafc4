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
_FREE = f"""
SELECT {HEAD}, {STUDY} FROM member m JOIN study s ON s.id = m.study
WHERE m.study = :study AND s.stopped IS NULL
"""
QUEUED = f"{_FREE} AND m.state = 'queued' ORDER BY m.round, m.member LIMIT 1"
EXPIRED = f"""
{_FREE} AND m.state = 'running' AND m.lease_until <= :now ORDER BY m.round, m.member LIMIT 1
"""
PREFERRED = f"""
{_FREE} AND m.id = :preferred AND m.round = :round
AND (m.state = 'queued' OR m.state = 'running' AND m.lease_until <= :now)
"""
_ANYTHING = f"SELECT EXISTS ({QUEUED}) OR EXISTS ({EXPIRED})"
_SET = """
UPDATE member
SET state = 'running', attempt = attempt + 1, worker = :worker, started_at = :now,
    lease_until = :now + :lease_s, claim = :claim
"""
_GIVEN = f"""
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
    row = tx.execute(_GIVEN, request.values()).fetchone()
    return None if row is None else HeadRow._make(row)


def claim_fast(database: Database, request: ClaimRequest) -> HeadRow | None:
    """Claim by one statement, as nearly always: when the study runs and no lease has expired."""
    rows = database.autocommit(FAST_CLAIM, request.values())
    if not rows:
        return None
    given = HeadRow._make(rows[0])
    database.observe_server_time(given.started_at or 0.0)  # before anything is staged for this job
    return given


def claim_job(work: UnitOfWork, request: ClaimRequest) -> HeadRow | None:
    """Give out the first job that is free, noting on the way which ones their workers have lost.

    Returns:
        The head as it has been given out; None when there is nothing to claim.
    """
    work.load_study()  # refuses a study that is not there
    while (found := _first(work, request)) is not None:
        head, row = head_and_study(found)
        if head.state == HeadState.QUEUED:
            given = _hand_out(work, request, head)
            if given is not None:
                return given
            continue  # somebody else has claimed it meanwhile, by one statement
        silent = Failure(FailureKind.LOST, f"no sign of life from worker {head.worker}")
        note_failure(work, head, row, silent)
    return None


def lease(given: HeadRow, request: ClaimRequest) -> Lease:
    """Return what has been given out as the worker wants it; not while others wait."""
    return Lease(request.study, running_job(given), str(given.worker))


def has_claimable(tx: Transaction, study: int) -> bool:
    """Whether there is something to claim now; reads only, so that idle workers disturb nobody."""
    values = {"study": study, "now": tx.now()}
    return bool(tx.execute(_ANYTHING, values).fetchone()[0])


def _first(tx: Transaction, request: ClaimRequest) -> Row | None:
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
    given = tx.execute(_HAND_OUT, values).fetchall()
    tx.execute(_START, values)
    return HeadRow._make(given[0]) if given else None

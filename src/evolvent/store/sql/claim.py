"""Claims: one statement gives out the next job, where its member need not decide first.

Members of an asynchronous study decide here, when their round begins.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any, NamedTuple

from evolvent.core.heads import HeadState
from evolvent.core.records import Cause
from evolvent.store.records import Failure, FailureKind, Lease
from evolvent.store.sql import rows
from evolvent.store.sql.advance import decide
from evolvent.store.sql.database import Database, Transaction
from evolvent.store.sql.report import note_failure
from evolvent.store.sql.retry import FreshKey
from evolvent.store.sql.rows import ID_STRIDE, HeadRow, Row
from evolvent.store.sql.session import DatabaseSession, UnitOfWork

CLAIMED = rows.HEAD.replace("m.", "")
_SET = """
UPDATE member
SET state = 'running', attempt = attempt + 1, worker = :worker, started_at = :now,
    lease_until = :now + :lease_s, claim = :claim
"""
# Not while a lease has expired, since its loss is noted before anything else is given out; nor
# before the first claim of the study, which also sets when the study started.
_NO_LOSS = """
NOT EXISTS (SELECT 1 FROM member WHERE study = :study AND state = 'running' AND lease_until <= :now)
"""
_NEXT = """
SELECT coalesce(
    (SELECT p.id FROM member p
     WHERE p.id = :preferred AND p.state = 'queued' AND p.round = first.round),
    first.id)
FROM member first WHERE first.study = :study AND first.state = 'queued'
ORDER BY first.round, first.member LIMIT 1
"""
FAST_CLAIM = f"""
{_SET} WHERE id = ({_NEXT}) AND cause <> 'undecided' AND {_NO_LOSS}
AND EXISTS (
    SELECT 1 FROM study WHERE id = :study AND stopped IS NULL AND started_at IS NOT NULL)
RETURNING {CLAIMED}
"""
_NEXT_UNDECIDED = f"""
SELECT {rows.HEAD}, {rows.STUDY_WITHOUT_LOG} FROM member m JOIN study s ON s.id = m.study
WHERE m.id = ({_NEXT}) AND m.cause = 'undecided' AND {_NO_LOSS}
AND s.stopped IS NULL AND s.started_at IS NOT NULL
"""
# Not found by the index on states: SQLite would go through all that are running.
_BY_KEY = f"""
SELECT {CLAIMED} FROM member
WHERE claim = :claim AND study + 0 = :study AND worker = :worker AND state = 'running'
"""
_CLAIMABLE = f"""
SELECT {rows.HEAD}, {rows.STUDY} FROM member m JOIN study s ON s.id = m.study
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
_HAND_OUT = f"{_SET} WHERE id = :id AND state = 'queued' RETURNING {CLAIMED}"
_HAND_OUT_KEPT = f"""
{_SET.rstrip()}, hyperparameters = :hyperparameters, reason = :reason, cause = :cause
WHERE id = :id
"""
_HAND_OUT_COPIED = f"""
{_SET.rstrip()}, hyperparameters = :hyperparameters, reason = :reason, cause = :cause,
parent_member = :parent_member, parent_round = :parent_round, checkpoint = :checkpoint,
own_checkpoint = :own_checkpoint
WHERE id = :id
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
            "worker": rows.storable_text(self.worker),
            "lease_s": self.lease_s,
            "claim": self.key,
            "preferred": None if self.prefer is None else first + self.prefer,
        }


def claim(session: DatabaseSession, request: ClaimRequest) -> Lease | None:
    """Give out the next job; None when there is nothing to claim.

    Around what nearly always does it stand what must come first for the few claims that are
    repeated or idle, and what it falls to.
    """
    cache = session.cache(request.study)
    # The answer to the first try was lost: the job that it claimed must not be claimed beside.
    if request.key is not None and not isinstance(request.key, FreshKey):
        with session.database.read() as tx:
            row = tx.execute(_BY_KEY, request.values()).fetchone()
        if row is not None:
            return _lease(HeadRow._make(row), request)
    # Idle workers ask again and again: a read takes no lock, so that they disturb nobody.
    if cache.idle and not _has_claimable(session, request.study):
        return None
    session.database.ensure_checkpoint_root()
    # The last job had to be decided: the next one will have to be, too, and no statement does that.
    head = None if cache.undecided else _claim_fast(session.database, request)
    if head is None:
        # Also the first claim of a study, one after an expired lease, or nothing is queued. A power
        # cut may undo it, and another claim decides: nothing that this one needs has gone by then.
        with session.work(request.study, synced=False) as work:
            head = _claim_undecided(work, request) or claim_in_transaction(work, request)
            cache.undecided = head is not None and head.round > 0 and not work.record.synchronous
    cache.idle = head is None
    return None if head is None else _lease(head, request)


def _claim_fast(database: Database, request: ClaimRequest) -> HeadRow | None:
    found = database.autocommit(FAST_CLAIM, request.values())
    if not found:
        return None
    head = HeadRow._make(found[0])
    # Before anything is staged for this job: `collect` removes what was staged earlier than it.
    database.observe_server_time(head.started_at or 0.0)
    return head


def _claim_undecided(work: UnitOfWork, request: ClaimRequest) -> HeadRow | None:
    """Decide how the next job begins and give it out; None when there is more to do than that."""
    values = {**request.values(), "now": work.now()}
    row = work.execute(_NEXT_UNDECIDED, values).fetchone()
    if row is None:
        return None
    head, study_row = rows.head_and_study(row)
    work.load_study(study_row)
    return _hand_out(work, values, head)


def claim_in_transaction(work: UnitOfWork, request: ClaimRequest) -> HeadRow | None:
    """Claim in a transaction, noting on the way which jobs their workers have lost.

    A loss is counted, and may end a job as failed, which may open others; and who decides may have
    to wait, or be stopped: so look again after each.
    """
    work.load_study()  # refuses a study that is not there
    while (row := _first_claimable(work, request)) is not None:
        head, study_row = rows.head_and_study(row)
        if head.state != HeadState.QUEUED:
            loss = Failure(FailureKind.LOST, f"no sign of life from worker {head.worker}")
            note_failure(work, head, study_row, loss)
            work.sync()  # it may let go of a checkpoint, which is not to be wanted back
            continue
        claimed = _hand_out(work, {**request.values(), "now": work.now()}, head)
        # A fast claim takes no study lock: it may have taken this job since we read it.
        if claimed is not None:
            work.execute(_START, {"study": work.study, "now": claimed.started_at})
            return claimed
    return None


def _has_claimable(session: DatabaseSession, study: int) -> bool:
    with session.read(study) as (tx, _):
        values = {"study": study, "now": tx.now()}
        return bool(tx.execute(_HAS_CLAIMABLE, values).fetchone()[0])


def _first_claimable(tx: Transaction, request: ClaimRequest) -> Row | None:
    values = {**request.values(), "now": tx.now()}
    found = [row for sql in (QUEUED, EXPIRED) if (row := tx.execute(sql, values).fetchone())]
    if not found:
        return None
    first: Row = min(found, key=itemgetter(1, 0))  # by round, then by member
    values["round"] = first[1]
    preferred: Row | None = tx.execute(PREFERRED, values).fetchone()
    return preferred or first


def _hand_out(work: UnitOfWork, values: dict[str, Any], head: HeadRow) -> HeadRow | None:
    """Give out a queued job, decided if need be; None when it cannot be given out (any more)."""
    values["id"] = work.study * ID_STRIDE + head.member
    if head.cause != Cause.UNDECIDED:
        found = work.execute(_HAND_OUT, values).fetchall()
        return HeadRow._make(found[0]) if found else None
    decided = decide(work, head)
    if decided is None:
        return None
    # Nobody else gives out what is undecided: the study's lock is ours.
    start = decided["parent_member"], decided["parent_round"]
    stays = start == (head.parent_member, head.parent_round)
    work.execute(_HAND_OUT_KEPT if stays else _HAND_OUT_COPIED, {**values, **decided})
    decided |= {"state": HeadState.RUNNING.value, "attempt": head.attempt + 1}
    now, lease_s = values["now"], values["lease_s"]
    return head._replace(
        **decided, worker=values["worker"], started_at=now, lease_until=now + lease_s
    )


def _lease(head: HeadRow, request: ClaimRequest) -> Lease:
    # After the transaction: hyperparameters are decoded while nobody waits for the lock.
    return Lease(request.study, rows.head_job(head), str(head.worker))

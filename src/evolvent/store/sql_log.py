"""The log and the heads of one study within one write transaction: statements without rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

from evolvent.core.heads import Head
from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.store.sql_rows import LINES, HeadRow, decode, head_values, job_id, running_job
from evolvent.store.sql_session import Work

_NONE: Mapping[JobId | None, str | None] = {None: None}

EVER = 2**62
"""A round that nobody reaches."""

_APPEND = """
INSERT INTO job (id, study, member, round, state, score, hyperparameters, metrics, checkpoint,
                 parent_member, parent_round, parent_checkpoint, attempt, reason, error, worker,
                 started_at, finished_at, kept)
SELECT :id, study, member, round, :state, :score, hyperparameters, :metrics, :checkpoint,
       parent_member, parent_round, checkpoint, attempt, reason, :error, worker,
       started_at, :now, :kept
FROM member WHERE id = :head
"""
_LAST = "SELECT id FROM job WHERE id > :begin AND id < :end ORDER BY id DESC LIMIT 1"
_MOVE = """
UPDATE member
SET round = :round, state = :state, hyperparameters = :hyperparameters,
    parent_member = :parent_member, parent_round = :parent_round, checkpoint = :checkpoint,
    reason = :reason, attempt = 0, losses = 0, failures = 0,
    lease_until = NULL, worker = NULL, started_at = NULL, error = NULL
WHERE id = :id
"""
_ADDRESS = """
SELECT checkpoint FROM job WHERE study = :study AND member = :member AND round = :round
"""
_WAITING = """
SELECT member, parent_member, parent_round, checkpoint FROM member
WHERE study = :study AND state = 'waiting' AND round <= :due
ORDER BY round, member
"""
_DUE = """
SELECT m.round
FROM member m JOIN job j ON j.study = m.study AND j.member = m.member AND j.round = m.round - 1
WHERE m.study = :study AND m.state = 'waiting' AND j.state = 'done'
ORDER BY m.round LIMIT 1
"""
_AT_WORK = """
SELECT EXISTS (SELECT 1 FROM member WHERE study = :study AND state = 'queued' AND round < :due)
    OR EXISTS (SELECT 1 FROM member WHERE study = :study AND state = 'running' AND round < :due)
"""


class Outcome(NamedTuple):
    """How a job ended.

    Attributes:
        metrics: as JSON text.
        checkpoint: address of what it saved; None when it failed.
        keeps_parent: whether its member can still go on from where the job had started.
    """

    state: JobState
    score: float | None = None
    metrics: str = "{}"
    checkpoint: str | None = None
    error: str | None = None
    keeps_parent: bool = True

    def record(self, head: HeadRow) -> JobRecord:
        """Return the finished job of a head as algorithms see it while it is being reported."""
        job = running_job(head)
        return JobRecord(
            job.member,
            job.round,
            self.state,
            job.hyperparameters,
            job.parent,
            self.score,
            decode(self.metrics),
            self.checkpoint,
            job.parent_checkpoint,
            job.attempt,
            job.reason,
            self.error,
            job.worker,
            job.started_at,
        )


@dataclass(frozen=True, slots=True)
class Waiting:
    """The head of a member that waits."""

    member: int
    parent: JobId | None
    checkpoint: str | None


def append(work: Work, head: HeadRow, outcome: Outcome, *, kept: bool, line: int | None) -> int:
    """Write the running job of a head as finished.

    Args:
        work: the transaction.
        head: the head.
        outcome: how the job ended.
        kept: whether its member goes on from it.
        line: id of the log's last line; None when it is not known.

    Returns:
        The id of the new line.
    """
    number = (_last(work) if line is None else line) + 1
    values = {
        "id": number,
        "head": work.study * LINES + head.member,
        "state": outcome.state.value,
        "score": outcome.score,
        "metrics": outcome.metrics,
        "checkpoint": outcome.checkpoint,
        "error": outcome.error,
        "now": work.now(),
        "kept": int(kept),
    }
    work.execute(_APPEND, values)
    work.release(head.checkpoint, outcome.checkpoint)
    return number


def move(work: Work, head: Head, known: Mapping[JobId | None, str | None] = _NONE) -> None:
    """Write what a member does next.

    Args:
        work: the transaction.
        head: the member's new head.
        known: addresses of checkpoints by job, as far as the caller knows them.
    """
    parent = head.parent
    address = known[parent] if parent in known else _address(work, parent)
    work.take(address)
    values = head_values(parent, head.hyperparameters)
    values["id"] = work.study * LINES + head.member
    values["round"] = head.round
    values["state"] = head.state.value
    values["checkpoint"] = address
    values["reason"] = head.reason
    work.execute(_MOVE, values)


def waiting(work: Work, due: int) -> list[Waiting]:
    """Return the members that wait to begin this round or an earlier one, by number."""
    rows = work.execute(_WAITING, {"study": work.study, "due": due}).fetchall()
    return [
        Waiting(member, job_id(parent_member, parent_round), address)
        for member, parent_member, parent_round, address in sorted(rows, key=itemgetter(0))
    ]


def due(work: Work) -> int | None:
    """Return which round those that wait may begin: None for none yet, EVER for no round."""
    values = {"study": work.study, "due": EVER}
    row = work.execute(_DUE, values).fetchone()
    if row is not None:
        values["due"] = row[0]
    at_work = work.execute(_AT_WORK, values).fetchone()[0]
    return None if at_work else values["due"]


def _last(work: Work) -> int:
    begin = work.study * LINES
    row = work.execute(_LAST, {"begin": begin, "end": begin + LINES}).fetchone()
    return begin if row is None else int(row[0])


def _address(work: Work, job: JobId | None) -> str | None:
    assert job is not None  # the address of no job is always known
    values = {"study": work.study, "member": job.member, "round": job.round}
    address: str | None = work.execute(_ADDRESS, values).fetchone()[0]
    return address

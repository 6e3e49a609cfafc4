"""What comes after a job: it joins the log, heads move on, and what was put off is decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

from evolvent.core.heads import Head, HeadState, decided_head, next_head, round_heads
from evolvent.core.population import Population
from evolvent.core.records import Cause, JobId, JobState, Member
from evolvent.core.study import mean_score
from evolvent.errors import ConfigError, DecisionError
from evolvent.store.records import JOB_COLUMNS, StoppedBy
from evolvent.store.sql import rows
from evolvent.store.sql.population import lineage_scores
from evolvent.store.sql.rows import ID_STRIDE, HeadRow, LazyHyperparameters
from evolvent.store.sql.session import UnitOfWork

WRITE_BEST = """
UPDATE study
SET best_member = :member, best_round = :round, best_score = :score, best_scores = :n_scores,
    best_checkpoint = :checkpoint
WHERE id = :study
"""
_STOP = "UPDATE study SET stopped = :why, stopped_by = :by WHERE id = :study"
NO_ROUND = 2**62
"""A round that nobody reaches."""
# What a job takes over from its head has the same name there, but for the checkpoint that it
# started from; what its report adds comes as a parameter.
_FROM_HEAD: dict[str, str] = {column: column for column in JOB_COLUMNS}
_OF_JOB = {
    "id": ":line",
    "study": "study",
    **_FROM_HEAD,
    "parent_checkpoint": "checkpoint",
    "state": ":state",
    "score": ":score",
    "metrics": ":metrics",
    "checkpoint": ":checkpoint",
    "error": ":error",
    "finished_at": ":now",
}
_APPEND = f"""
INSERT INTO job ({", ".join(_OF_JOB)})
SELECT {", ".join(_OF_JOB.values())} FROM member WHERE id = :head
"""
_WRITE_HEAD = f"""
UPDATE member
SET {", ".join(f"{column} = :{column}" for column in rows.HEAD_COLUMNS)},
    checkpoint = :checkpoint, own_checkpoint = :own_checkpoint,
    attempt = 0, losses = 0, failures = 0,
    lease_until = NULL, worker = NULL, started_at = NULL, error = NULL
WHERE id = :id
"""
_WAITING = """
SELECT member, parent_member, parent_round, checkpoint FROM member
WHERE study = :study AND state = 'waiting' AND round <= :due
ORDER BY round, member
"""
_DUE_ROUND = """
SELECT m.round
FROM member m JOIN job j ON j.study = m.study AND j.member = m.member AND j.round = m.round - 1
WHERE m.study = :study AND m.state = 'waiting' AND j.state = 'done'
ORDER BY m.round LIMIT 1
"""
_BUSY_BEFORE = """
SELECT EXISTS (SELECT 1 FROM member WHERE study = :study AND state = 'queued' AND round < :due)
    OR EXISTS (SELECT 1 FROM member WHERE study = :study AND state = 'running' AND round < :due)
"""


def finish_job(work: UnitOfWork, head: HeadRow, result: JobResult) -> None:
    """Append a job to the log and open what comes next, for its member and those that wait."""
    score = result.score
    values = LazyHyperparameters(head.hyperparameters)
    me = Member(head.member, head.round, score, values)
    parent = head.parent if score is None and result.keeps_parent else None
    # The study's lock is ours: nobody else appends.
    _append_job(work, head, result, line=(work.row.last_line or work.study * ID_STRIDE) + 1)
    new = next_head(work.record, me, parent=parent)
    kept = None if parent is None else head.checkpoint
    _write_head(work, new, kept if score is None else result.checkpoint)
    if score is not None:
        _note_best(work, me.job, score, result.checkpoint)
    if work.row.has_waiting or new.state is HeadState.WAITING:
        try:
            _decide_waiting(work)
        except (ConfigError, DecisionError) as e:  # the job is in the log all the same
            _stop(work, str(e), by="decision")


def decide_waiting(work: UnitOfWork) -> None:
    """Decide for the members whose decision failed when it was due, if there are any.

    Raises:
        DecisionError: it fails again.
    """
    if work.row.has_waiting:
        _decide_waiting(work)


def resume_members(work: UnitOfWork, heads: Sequence[HeadRow]) -> None:
    """Let members that had ended for want of rounds, or wait, go on after their newest job."""
    population = work.population
    for head in heads:
        me = population.member(head.member)
        new = next_head(work.record, me, parent=head.parent)
        _write_head(work, new, head.checkpoint)
    _decide_waiting(work)


def decide(work: UnitOfWork, head: HeadRow) -> dict[str, Any] | None:
    """Let the member of a queued head decide how its round begins.

    Returns:
        What changes of the head, by column, not written yet; None when its member was stopped,
        or the study because the decision failed, which is.
    """
    try:
        new, address = _decided(work, head)
    except DecisionError as e:
        _stop(work, str(e), by="decision")
        return None
    if new.state is not HeadState.QUEUED:
        _write_head(work, new, address)
        return None
    # What it leaves for another's stays until it reports: others may copy it, and as a claim is not
    # synced, a power cut may undo this one.
    leaves = new.cause is Cause.COPIED and new.parent != head.parent
    left = head.checkpoint if leaves else None
    return rows.head_values(new) | {"checkpoint": address, "own_checkpoint": left}


def _append_job(work: UnitOfWork, head: HeadRow, result: JobResult, *, line: int) -> None:
    """Write the running job of a head as finished."""
    values = {
        "line": line,
        "head": work.study * ID_STRIDE + head.member,
        "state": result.state.value,
        "score": result.score,
        "metrics": result.metrics,
        "checkpoint": result.checkpoint,
        "error": result.error,
        "now": work.now(),
    }
    work.execute(_APPEND, values)
    work.forget_population()
    work.drop_ref(head.checkpoint, head.own_checkpoint, result.checkpoint)


def _note_best(work: UnitOfWork, job: JobId, score: float, checkpoint: str | None) -> None:
    row, window, n_scores = work.row, work.record.best_window, 1
    if window > 1:
        scores = lineage_scores(work, work.study, job, window)
        score, n_scores = mean_score(scores), len(scores)
    # Of equal ones the lowest round, then the lowest member is the best, in whatever order the
    # reports come: the same study has the same best with 1 worker or 32.
    rank = (n_scores, score, row.best_round, row.best_member)
    before = row.best_scores or 1  # none: by an evolvent that knew of no means
    if row.best_score is None or rank > (before, row.best_score, job.round, job.member):
        values = {"study": work.study, "member": job.member, "round": job.round, "score": score}
        work.execute(WRITE_BEST, {**values, "n_scores": n_scores, "checkpoint": checkpoint})
        work.drop_ref(row.best_checkpoint)
        work.add_ref(checkpoint)
    if row.stopped is None and work.record.reached(score, n_scores):
        _stop(work, f"{job} reached the target", by="target")


def _stop(work: UnitOfWork, why: str, *, by: StoppedBy) -> None:
    work.execute(_STOP, {"study": work.study, "why": rows.storable_text(why), "by": by})


def _decide_waiting(work: UnitOfWork) -> None:
    """Decide for the members that wait for what has just changed."""
    if work.record.synchronous:
        _decide_round(work)
        return
    # They have failed. One after the other: the donor that revived one counts for the next.
    for head in _waiting_heads(work, NO_ROUND):
        new, address = _decided(work, head)
        work.drop_ref(head.checkpoint)
        _write_head(work, new, address)


def _decided(work: UnitOfWork, old: HeadRow | WaitingHead) -> tuple[Head, str | None]:
    """Ask the algorithm what the member of a head does next.

    Returns:
        Its new head, and the address of the checkpoint that it starts from.
    """
    me = work.population.member(old.member)
    new = decided_head(work.record, me, parent=old.parent, population=work.population)
    return _with_checkpoint(work, new, me, old)


def _with_checkpoint(
    work: UnitOfWork, new: Head, me: Member, old: HeadRow | WaitingHead
) -> tuple[Head, str | None]:
    """Return what `me` has decided with the address of the checkpoint that it starts from.

    A donor whose checkpoint is gone is none, and it decides without: an import may have come
    without it, and an older evolvent did not keep what a member left for a copy. Who copies itself,
    as an algorithm of the user's own may, goes on as who keeps what it has.
    """
    population = work.population
    while new.cause is Cause.COPIED and new.parent != me.job:
        assert new.parent is not None  # for the type checker: it is a donor's
        address = _address(work, new.parent)
        if address is not None and address in work.cache.checkpoints:
            return new, address
        donor = new.parent.member
        left = (member for member in population if member.id != donor)
        population = Population(left, population.history)
        new = decided_head(work.record, me, parent=old.parent, population=population)
    return new, old.checkpoint


def _decide_round(work: UnitOfWork) -> None:
    """Decide at the end of a round, as far as nobody that is waited for is still at work.

    A failed member that found no donor at the end of its round tries again at the next one.
    """
    while (due := _due_round(work)) is not None:
        _decide_together(work, due)
        if due == NO_ROUND:
            return


def _decide_together(work: UnitOfWork, due: int) -> None:
    waiting = _waiting_heads(work, due)
    if not waiting:
        return
    population = work.population
    members = [population.member(head.member) for head in waiting]
    pairs = [(me, head.parent) for me, head in zip(members, waiting, strict=True)]
    heads = round_heads(work.record, pairs, population=population)
    decided = [
        (old, *_with_checkpoint(work, new, me, old))
        for old, new, me in zip(waiting, heads, members, strict=True)
    ]
    # Who has failed lets go of what it had started from; dropped for all before any is added.
    failed = {me.id for me in members if me.failed}
    work.drop_ref(*(old.checkpoint for old in waiting if old.member in failed))
    for old, new, address in decided:
        left = new.parent != old.parent and old.member not in failed
        _write_head(work, new, address, own=old.checkpoint if left else None)


class JobResult(NamedTuple):
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


@dataclass(frozen=True, slots=True)
class WaitingHead:
    """The head of a member that waits."""

    member: int
    parent: JobId | None
    checkpoint: str | None


def _write_head(
    work: UnitOfWork, head: Head, checkpoint: str | None, *, own: str | None = None
) -> None:
    """Write what a member does next.

    Args:
        work: the transaction.
        head: of the member.
        checkpoint: address of the one that it starts from.
        own: the checkpoint that it leaves for another's.
    """
    work.add_ref(checkpoint)
    values = rows.head_values(head)
    values["id"] = work.study * ID_STRIDE + head.member
    values["checkpoint"], values["own_checkpoint"] = checkpoint, own
    work.execute(_WRITE_HEAD, values)


def _waiting_heads(work: UnitOfWork, due: int) -> list[WaitingHead]:
    """Return the members that wait to begin this round or an earlier one, by number."""
    found = work.execute(_WAITING, {"study": work.study, "due": due}).fetchall()
    return [
        WaitingHead(member, rows.job_id(parent_member, parent_round), address)
        for member, parent_member, parent_round, address in sorted(found, key=itemgetter(0))
    ]


def _due_round(work: UnitOfWork) -> int | None:
    """Return the round that waiting members may begin.

    None while others are still busy before it; NO_ROUND when none of those that wait is healthy.
    """
    values = {"study": work.study, "due": NO_ROUND}
    row = work.execute(_DUE_ROUND, values).fetchone()
    if row is not None:
        values["due"] = row[0]
    busy = work.execute(_BUSY_BEFORE, values).fetchone()[0]
    return None if busy else values["due"]


def _address(work: UnitOfWork, job: JobId) -> str | None:
    values = {"study": work.study, "member": job.member, "round": job.round}
    address: str | None = work.execute(rows.CHECKPOINT_OF, values).fetchone()[0]
    return address

"""What a finished job sets off, within one transaction: the log grows and heads move on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import NamedTuple

from evolvent.core.heads import Head, decided_head, next_head, round_heads
from evolvent.core.population import Population
from evolvent.core.records import JobId, JobRecord, JobState, Member
from evolvent.store.records import JOB_COLUMNS
from evolvent.store.sql import rows
from evolvent.store.sql.rows import ID_STRIDE, HeadRow, LazyHyperparameters
from evolvent.store.sql.session import UnitOfWork

WRITE_BEST = """
UPDATE study
SET best_member = :member, best_round = :round, best_score = :score, best_checkpoint = :checkpoint
WHERE id = :study
"""
_STOP = "UPDATE study SET stopped = :why, stopped_by = 'target' WHERE id = :study"
_EMPTY_POPULATION = Population()
_NO_ADDRESSES: Mapping[JobId | None, str | None] = {None: None}
NO_ROUND = 2**62
"""A round that nobody reaches."""
# What a job takes over from its head has the same name there, but for the checkpoint that it
# started from; what its report adds comes as a parameter.
_FROM_HEAD: dict[str, str] = {column: column for column in JOB_COLUMNS}
_OF_JOB = {
    "id": ":id",
    "study": "study",
    **_FROM_HEAD,
    "parent_checkpoint": "checkpoint",
    "state": ":state",
    "score": ":score",
    "metrics": ":metrics",
    "checkpoint": ":checkpoint",
    "error": ":error",
    "finished_at": ":now",
    "kept": ":kept",
}
_APPEND = f"""
INSERT INTO job ({", ".join(_OF_JOB)})
SELECT {", ".join(_OF_JOB.values())} FROM member WHERE id = :head
"""
_LAST_LINE = "SELECT id FROM job WHERE id > :begin AND id < :end ORDER BY id DESC LIMIT 1"
_WRITE_HEAD = f"""
UPDATE member
SET {", ".join(f"{column} = :{column}" for column in rows.HEAD_COLUMNS)},
    checkpoint = :checkpoint, attempt = 0, losses = 0, failures = 0,
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
    score, values = result.score, LazyHyperparameters(head.hyperparameters)
    me = Member(head.member, head.round, score, values, score is not None)
    own = me.job
    parent = head.parent if score is None and result.keeps_parent else None
    new = _next_head(work, head, me, result, parent=parent)
    # Decided before it is appended: the line says whether its member goes on from it.
    _append_job(work, head, result, me, kept=new.parent == own)
    addresses: dict[JobId | None, str | None] = {None: None, own: result.checkpoint}
    if parent is not None:
        addresses[parent] = head.checkpoint
    _write_head(work, new, addresses)
    if score is not None:
        _note_best(work, own, score, result.checkpoint)
    if work.record.synchronous:
        _decide_round(work)
    elif score is not None:
        _revive_failed(work)


def resume_members(work: UnitOfWork, heads: Sequence[HeadRow]) -> None:
    """Let members decide anew what comes after their newest job, all against one snapshot."""
    snapshot = work.population
    for head in heads:
        me = snapshot.member(head.member)
        new = next_head(work.record, me, parent=head.parent, population=snapshot)
        work.drop_ref(head.checkpoint)
        _write_head(work, new)
    # Heads moved and the log did not grow: other processes would not notice.
    work.bump_epoch()
    if work.record.synchronous:
        _decide_round(work)


def _next_head(
    work: UnitOfWork, head: HeadRow, me: Member, result: JobResult, *, parent: JobId | None
) -> Head:
    """Return what comes after a job that is not in the log yet."""
    record = work.record
    # Nothing is decided yet at the end of a round, nor at the very end.
    population = _EMPTY_POPULATION
    if not record.synchronous and me.round + 1 < record.rounds:
        population = work.population
        population.update(me)
        # The line is not in the log yet, and algorithms that read the log must see it: made when
        # one asks, since few do.
        work.cache.population.history.pending = lambda: result.record(head)
    return next_head(record, me, parent=parent, population=population)


def _append_job(
    work: UnitOfWork, head: HeadRow, result: JobResult, me: Member, *, kept: bool
) -> None:
    """Write the running job of a head as finished; `kept`: whether its member goes on from it."""
    population, cache = work.known_population, work.cache.population
    # The study's lock is ours, so nobody appends in between; the cache was fed in this transaction.
    line = (_last_line(work) if population is None else cache.last_line) + 1
    values = {
        "id": line,
        "head": work.study * ID_STRIDE + head.member,
        "state": result.state.value,
        "score": result.score,
        "metrics": result.metrics,
        "checkpoint": result.checkpoint,
        "error": result.error,
        "now": work.now(),
        "kept": int(kept),
    }
    work.execute(_APPEND, values)
    work.drop_ref(head.checkpoint, result.checkpoint)
    if population is not None:
        cache.appended(line, me.job)
        if not kept:
            population.update(replace(me, available=False))


def _note_best(work: UnitOfWork, job: JobId, score: float, checkpoint: str | None) -> None:
    row = work.row
    # Of equal scores the lowest round, then the lowest member is the best, in whatever order the
    # reports come: the same study has the same best with 1 worker or 32.
    rank = (score, row.best_round, row.best_member)
    if row.best_score is None or rank > (row.best_score, job.round, job.member):
        values = {"study": work.study, "member": job.member, "round": job.round}
        work.execute(WRITE_BEST, {**values, "score": score, "checkpoint": checkpoint})
        work.drop_ref(row.best_checkpoint)
        work.add_ref(checkpoint)
    if row.stopped is None and work.record.reached(score):
        work.execute(_STOP, {"study": work.study, "why": f"{job} reached the target"})


def _revive_failed(work: UnitOfWork) -> None:
    """Let failed members look again for a donor, one after the other."""
    population = work.known_population
    if population is not None and population.n_healthy == len(population):
        return
    for head in _waiting_heads(work, NO_ROUND):
        # One after the other: the donor that revived one counts for the next.
        me, population = work.population.member(head.member), work.population
        new = decided_head(work.record, me, parent=head.parent, population=population)
        work.drop_ref(head.checkpoint)
        _write_head(work, new)


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
    pairs = [(population.member(head.member), head.parent) for head in waiting]
    heads = round_heads(work.record, pairs, population=population)
    addresses = {None: None, **{head.parent: head.checkpoint for head in waiting}}
    # Dropped for all before any is added: what two of them share stays.
    work.drop_ref(*addresses.values())
    for new in heads:
        _write_head(work, new, addresses)
    # Who may be copied is known only now: the lines of the log, written before, may say otherwise.
    work.bump_epoch()


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

    def record(self, head: HeadRow) -> JobRecord:
        """Return the finished job of a head as algorithms see it while it is being reported."""
        return replace(
            rows.head_job(head),
            state=self.state,
            score=self.score,
            metrics=rows.decode(self.metrics),
            checkpoint=self.checkpoint,
            error=self.error,
        )


@dataclass(frozen=True, slots=True)
class WaitingHead:
    """The head of a member that waits."""

    member: int
    parent: JobId | None
    checkpoint: str | None


def _write_head(
    work: UnitOfWork, head: Head, addresses: Mapping[JobId | None, str | None] = _NO_ADDRESSES
) -> None:
    """Write what a member does next; `addresses` are those of checkpoints that are known."""
    parent = head.parent
    address = addresses[parent] if parent in addresses else _address(work, parent)
    work.add_ref(address)
    values = rows.head_values(head)
    values["id"] = work.study * ID_STRIDE + head.member
    values["checkpoint"] = address
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


def _last_line(work: UnitOfWork) -> int:
    begin = work.study * ID_STRIDE
    row = work.execute(_LAST_LINE, {"begin": begin, "end": begin + ID_STRIDE}).fetchone()
    return begin if row is None else int(row[0])


def _address(work: UnitOfWork, job: JobId | None) -> str | None:
    assert job is not None  # the address of no job is always known
    values = {"study": work.study, "member": job.member, "round": job.round}
    address: str | None = work.execute(rows.CHECKPOINT_OF, values).fetchone()[0]
    return address

"""What a finished job sets off, within one transaction: the log grows and heads move on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from evolvent.core.heads import Head, decided_head, next_head, round_heads
from evolvent.core.population import Population
from evolvent.core.records import JobId, Member
from evolvent.store import sql_log
from evolvent.store.sql_log import EVER, Outcome
from evolvent.store.sql_rows import HeadRow, Hyper
from evolvent.store.sql_session import Work

_BEST = """
UPDATE study
SET best_member = :member, best_round = :round, best_score = :score, best_checkpoint = :checkpoint
WHERE id = :study
"""
_STOP = "UPDATE study SET stopped = :why, stopped_by = 'target' WHERE id = :study"
_NOBODY = Population()


def finish(work: Work, head: HeadRow, outcome: Outcome) -> None:
    """Append a job to the log and open what comes next, for its member and those that wait."""
    score, values = outcome.score, Hyper(head.hyperparameters)
    me = Member(head.member, head.round, score, values, score is not None)
    own = me.job
    parent = head.parent if score is None and outcome.keeps_parent else None
    new = _next(work, head, me, outcome, parent=parent)
    _append(work, head, outcome, me, kept=new.parent == own)
    known: dict[JobId | None, str | None] = {None: None, own: outcome.checkpoint}
    if parent is not None:
        known[parent] = head.checkpoint
    sql_log.move(work, new, known)
    if score is not None:
        _note_best(work, own, score, outcome.checkpoint)
    _wake_others(work, healthy=score is not None)


def go_on(work: Work, heads: Sequence[HeadRow]) -> None:
    """Let members decide anew what comes after their newest job, all against one snapshot."""
    snapshot = work.population
    for head in heads:
        me = snapshot.member(head.member)
        new = next_head(work.record, me, parent=head.parent, population=snapshot)
        work.release(head.checkpoint)
        sql_log.move(work, new)
    work.renew()
    if work.record.synchronous:
        _settle(work)


def _next(work: Work, head: HeadRow, me: Member, outcome: Outcome, *, parent: JobId | None) -> Head:
    """Return what comes after a job that is not in the log yet."""
    record = work.record
    population = _NOBODY  # nothing is decided yet at the end of a round, nor at the very end
    if not record.synchronous and me.round + 1 < record.rounds:
        population = work.population
        population.update(me)
        work.memory.population.history.last = lambda: outcome.record(head)
    return next_head(record, me, parent=parent, population=population)


def _append(work: Work, head: HeadRow, outcome: Outcome, me: Member, *, kept: bool) -> None:
    population, cache = work.known_population, work.memory.population
    line = None if population is None else cache.seen
    line = sql_log.append(work, head, outcome, kept=kept, line=line)
    if population is not None:
        cache.written(line, me.job)
        if not kept:
            population.update(replace(me, available=False))


def _note_best(work: Work, job: JobId, score: float, checkpoint: str | None) -> None:
    row = work.row
    rank = (score, row.best_round, row.best_member)
    if row.best_score is None or rank > (row.best_score, job.round, job.member):
        values = {"study": work.study, "member": job.member, "round": job.round}
        work.execute(_BEST, {**values, "score": score, "checkpoint": checkpoint})
        work.release(row.best_checkpoint)
        work.take(checkpoint)
    if row.stopped is None and work.record.reached(score):
        work.execute(_STOP, {"study": work.study, "why": f"{job} reached the target"})


def _wake_others(work: Work, *, healthy: bool) -> None:
    if work.record.synchronous:
        _settle(work)
    elif healthy:
        _revive(work)


def _revive(work: Work) -> None:
    """Let failed members look again for a donor, one after the other."""
    population = work.known_population
    if population is not None and population.n_healthy == len(population):
        return
    for head in sql_log.waiting(work, EVER):
        me, population = work.population.member(head.member), work.population
        new = decided_head(work.record, me, parent=head.parent, population=population)
        work.release(head.checkpoint)
        sql_log.move(work, new)


def _settle(work: Work) -> None:
    """Decide at the end of a round, as far as nobody that is waited for is still at work.

    A failed member that found no donor at the end of its round tries again at the next one.
    """
    while (due := sql_log.due(work)) is not None:
        _decide_together(work, due)
        if due == EVER:
            return


def _decide_together(work: Work, due: int) -> None:
    waiting = sql_log.waiting(work, due)
    if not waiting:
        return
    population = work.population
    pairs = [(population.member(head.member), head.parent) for head in waiting]
    heads = round_heads(work.record, pairs, population=population)
    known = {None: None, **{head.parent: head.checkpoint for head in waiting}}
    work.release(*known.values())
    for new in heads:
        sql_log.move(work, new, known)
    work.renew()

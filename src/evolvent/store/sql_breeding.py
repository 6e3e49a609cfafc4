"""What a finished job sets off, within one transaction: the log grows and heads move on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from evolvent.core.heads import Head, decided_head, next_head, round_heads
from evolvent.core.population import Population
from evolvent.core.records import JobId, Member
from evolvent.core.study import StudyRecord
from evolvent.store.sql_log import EVER, Log, Outcome
from evolvent.store.sql_population import PopulationCache
from evolvent.store.sql_rows import HeadRow, Hyper, StudyRow
from evolvent.store.sqlite import Writing

_BEST = """
UPDATE study
SET best_member = :member, best_round = :round, best_score = :score, best_checkpoint = :checkpoint
WHERE id = :study
"""
_STOP = "UPDATE study SET stopped = :why, stopped_by = 'target' WHERE id = :study"
_NOBODY = Population()


class Breeding:
    """One study within one write transaction, with the rules of breeding."""

    def __init__(
        self,
        tx: Writing,
        study: int,
        *,
        record: StudyRecord,
        row: StudyRow,
        cache: PopulationCache,
    ) -> None:
        self.tx = tx
        self.study = study
        self.record = record
        self.row = row
        self.log = Log(tx, study)
        self._cache = cache
        self._population: Population | None = None

    @property
    def population(self) -> Population:
        """The newest state of all members."""
        if self._population is None:
            self._population = self._cache.read(self.tx, epoch=self.row.epoch)
            self.tx.afterwards(self._cache.confirm)
        return self._population

    def finish(self, head: HeadRow, outcome: Outcome) -> None:
        """Append a job to the log and open what comes next, for its member and those that wait."""
        values, available = Hyper(head.hyperparameters), outcome.score is not None
        me = Member(head.member, head.round, outcome.score, values, available)
        own, parent = me.job, head.parent
        new = self._next(head, me, outcome, parent=parent if outcome.keeps_parent else None)
        self._append(head, outcome, me, kept=new.parent == own)
        known = {own: outcome.checkpoint}
        if parent is not None:
            known[parent] = head.checkpoint
        self.log.move(new, known)
        if outcome.score is not None:
            self._note_best(own, outcome.score, outcome.checkpoint)
        self._wake_others(healthy=available)

    def go_on(self, heads: Sequence[HeadRow]) -> None:
        """Let members decide anew what comes after their newest job, all against one snapshot."""
        all_ = self.population
        for head in heads:
            me = all_.member(head.member)
            self.log.release(head.checkpoint)
            self.log.move(next_head(self.record, me, parent=head.parent, population=all_), {})
        self._changed_otherwise()
        if self.record.synchronous:
            self._settle()

    # --- steps ---------------------------------------------------------------------------------

    def _next(self, head: HeadRow, me: Member, outcome: Outcome, *, parent: JobId | None) -> Head:
        """Return what comes after a job that is not in the log yet."""
        population = _NOBODY  # nothing is decided yet at the end of a round, nor at the very end
        if not self.record.synchronous and me.round + 1 < self.record.rounds:
            population = self.population
            population.update(me)
            self._cache.history.end_with(lambda: outcome.record(head))
        return next_head(self.record, me, parent=parent, population=population)

    def _append(self, head: HeadRow, outcome: Outcome, me: Member, *, kept: bool) -> None:
        known = self._population is not None
        line = self._cache.seen if known else None
        line = self.log.append(head, outcome, kept=kept, line=line)
        if self._population is not None:
            self._cache.written(line)
            if not kept:
                self._population.update(replace(me, available=False))

    def _note_best(self, job: JobId, score: float, checkpoint: str | None) -> None:
        row = self.row
        rank = (score, row.best_round, row.best_member)
        if row.best_score is None or rank > (row.best_score, job.round, job.member):
            values = {"study": self.study, "member": job.member, "round": job.round}
            self.tx.execute(_BEST, {**values, "score": score, "checkpoint": checkpoint})
            self.log.release(row.best_checkpoint)
        if row.stopped is None and self.record.reached(score):
            self.tx.execute(_STOP, {"study": self.study, "why": f"{job} reached the target"})

    def _wake_others(self, *, healthy: bool) -> None:
        if self.record.synchronous:
            self._settle()
        elif healthy:
            self._revive()

    def _revive(self) -> None:
        """Let failed members look again for a donor, one after the other."""
        known = self._population
        if known is not None and known.n_healthy == len(known):
            return
        for head in self.log.waiting(EVER):
            me, population = self.population.member(head.member), self.population
            new = decided_head(self.record, me, parent=head.parent, population=population)
            self.log.release(head.checkpoint)
            self.log.move(new, {})

    def _settle(self) -> None:
        """Decide at the end of a round, as far as nobody that is waited for is still at work.

        A failed member that found no donor at the end of its round tries again at the next one.
        """
        while (due := self.log.due()) is not None:
            self._decide_together(due)
            if due == EVER:
                return

    def _decide_together(self, due: int) -> None:
        waiting = self.log.waiting(due)
        if not waiting:
            return
        population = self.population
        pairs = [(population.member(head.member), head.parent) for head in waiting]
        heads = round_heads(self.record, pairs, population=population)
        known = {head.parent: head.checkpoint for head in waiting if head.parent is not None}
        self.log.release(*known.values())
        for new in heads:
            self.log.move(new, known)
        self._changed_otherwise()

    def _changed_otherwise(self) -> None:
        """Take note that heads have moved without a line in the log: read everything anew."""
        self._population = None
        self.log.renew()

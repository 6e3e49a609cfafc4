"""What a finished job sets off, within one transaction: the log grows and heads move on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

from evolvent.core.heads import Head, decided_head, next_head, round_heads
from evolvent.core.population import Population
from evolvent.core.records import JobId, JobRecord, JobState, Member
from evolvent.core.study import StudyRecord
from evolvent.store.sql_population import PopulationCache
from evolvent.store.sql_rows import LINES, HeadRow, Hyper, StudyRow, decode, running_job, text_of
from evolvent.store.sqlite import Transaction

_APPEND = """
INSERT INTO job (id, study, member, round, state, score, hyperparameters, metrics, checkpoint,
                 parent_member, parent_round, parent_checkpoint, attempt, reason, error, worker,
                 started_at, finished_at, kept)
VALUES (:id, :study, :member, :round, :state, :score, :hyperparameters, :metrics, :checkpoint,
        :parent_member, :parent_round, :parent_checkpoint, :attempt, :reason, :error, :worker,
        :started_at, :now, :kept)
"""
_LAST = "SELECT id FROM job WHERE id >= :begin AND id < :end ORDER BY id DESC LIMIT 1"
_MOVE = """
UPDATE member
SET round = :round, state = :state, hyperparameters = :hyperparameters,
    parent_member = :parent_member, parent_round = :parent_round, checkpoint = :checkpoint,
    reason = :reason, attempt = 0, losses = 0, failures = 0,
    lease_until = NULL, worker = NULL, started_at = NULL, error = NULL
WHERE id = :id
"""
_BEST = """
UPDATE study
SET best_member = :member, best_round = :round, best_score = :score, best_checkpoint = :checkpoint
WHERE id = :study
"""
_STOP = "UPDATE study SET stopped = :why, stopped_by = 'target' WHERE id = :study"
_EPOCH = "UPDATE study SET epoch = epoch + 1 WHERE id = :study"
_ADDRESS = """
SELECT checkpoint FROM job WHERE study = :study AND member = :member AND round = :round
"""
_NEEDED = """
SELECT EXISTS (SELECT 1 FROM member WHERE study = :study AND checkpoint = :address)
    OR EXISTS (SELECT 1 FROM study WHERE id = :study AND best_checkpoint = :address)
    OR EXISTS (SELECT 1 FROM pin WHERE study = :study AND checkpoint = :address)
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
_EVER = 2**62


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    Attributes:
        keeps_parent: whether its member can still go on from where the job had started.
    """

    state: JobState
    score: float | None = None
    metrics: str = "{}"
    checkpoint: str | None = None
    error: str | None = None
    keeps_parent: bool = True


class Breeding:
    """One study within one write transaction."""

    def __init__(
        self,
        tx: Transaction,
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
        self._cache = cache
        self._population: Population | None = None
        self._released: set[str] = set()
        self._kept: set[str] = set()

    @property
    def population(self) -> Population:
        """The newest state of all members but those whose heads are about to be moved."""
        if self._population is None:
            self._population = self._cache.read(self.tx, epoch=self.row.epoch)
            self.tx.afterwards(self._cache.confirm)
        return self._population

    def finish(self, head: HeadRow, outcome: Outcome) -> None:
        """Append a job to the log and open what comes next, for its member and those that wait."""
        me = Member(
            head.member,
            head.round,
            outcome.score,
            Hyper(head.hyperparameters),
            available=outcome.score is not None,
        )
        new = self._next(head, me, outcome)
        kept = new.parent == me.job
        self._append(head, outcome, kept=kept)
        if self._population is not None and not kept:
            self._population.update(replace(me, available=False))
        self.release(head.checkpoint, outcome.checkpoint)
        addresses = {me.job: outcome.checkpoint}
        if head.parent is not None:
            addresses[head.parent] = head.checkpoint
        self._move(new, addresses)
        if outcome.score is not None:
            self._note_best(me, outcome.score, outcome.checkpoint)
        self._wake_others(me)

    def go_on(self, heads: Sequence[HeadRow]) -> None:
        """Let members decide anew what comes after their newest job, all against one snapshot."""
        all_ = self.population
        for head in heads:
            me = all_.member(head.member)
            self.release(head.checkpoint)
            self._move(next_head(self.record, me, parent=head.parent, population=all_), {})
        self._population = None
        self.renew()
        if self.record.synchronous:
            self.settle()

    def settle(self) -> None:
        """Decide at the end of a round, as far as nobody that is waited for is still at work.

        A failed member that found no donor at the end of its round tries again at the next one.
        """
        while (due := self._due()) is not None:
            self._decide_waiting(due)
            if due == _EVER:
                return

    def unneeded(self) -> list[str]:
        """Return which of the checkpoints that were let go nothing else needs."""
        return [a for a in sorted(self._released - self._kept) if not self._is_needed(a)]

    def renew(self) -> None:
        """Make all processes read the study anew: something changed that is not in the log."""
        self.tx.execute(_EPOCH, {"study": self.study})

    def release(self, *addresses: str | None) -> None:
        """Let checkpoints go, as far as nothing else needs them."""
        for address in addresses:
            if address is not None:
                self._released.add(address)
                self._kept.discard(address)

    # --- steps ---------------------------------------------------------------------------------

    def _is_needed(self, address: str) -> bool:
        values = {"study": self.study, "address": address}
        return bool(self.tx.execute(_NEEDED, values).fetchone()[0])

    def _next(self, head: HeadRow, me: Member, outcome: Outcome) -> Head:
        """Return what comes after a job that is not in the log yet."""
        population = _NOBODY
        if not self.record.synchronous and me.round + 1 < self.record.rounds:
            population = self.population
            population.update(me)
            self._cache.history.end_with(lambda: _record(head, outcome))
        parent = head.parent if outcome.keeps_parent else None
        return next_head(self.record, me, parent=parent, population=population)

    def _append(self, head: HeadRow, outcome: Outcome, *, kept: bool) -> None:
        number = self._last_line() + 1
        values = {
            **head._asdict(),
            "id": number,
            "study": self.study,
            "state": outcome.state.value,
            "score": outcome.score,
            "metrics": outcome.metrics,
            "checkpoint": outcome.checkpoint,
            "parent_checkpoint": head.checkpoint,
            "error": outcome.error,
            "now": self.tx.now(),
            "kept": int(kept),
        }
        self.tx.execute(_APPEND, values)
        if self._population is not None:
            self._cache.written(number)

    def _last_line(self) -> int:
        if self._population is not None:
            return self._cache.seen
        begin = self.study * LINES
        row = self.tx.execute(_LAST, {"begin": begin, "end": begin + LINES}).fetchone()
        return begin if row is None else int(row[0])

    def _move(self, head: Head, addresses: Mapping[JobId, str | None]) -> None:
        parent = head.parent
        address = self._address(parent, addresses)
        if address is not None:
            self._kept.add(address)
        values: dict[str, Any] = {
            "id": self.study * LINES + head.member,
            "round": head.round,
            "state": head.state.value,
            "hyperparameters": text_of(head.hyperparameters),
            "parent_member": None if parent is None else parent.member,
            "parent_round": None if parent is None else parent.round,
            "checkpoint": address,
            "reason": head.reason,
        }
        self.tx.execute(_MOVE, values)

    def _address(self, job: JobId | None, known: Mapping[JobId, str | None]) -> str | None:
        if job is None or job in known:
            return None if job is None else known[job]
        values = {"study": self.study, "member": job.member, "round": job.round}
        address: str | None = self.tx.execute(_ADDRESS, values).fetchone()[0]
        return address

    def _note_best(self, me: Member, score: float, checkpoint: str | None) -> None:
        row = self.row
        if row.best_score is None or (score, row.best_round, row.best_member) > (
            row.best_score,
            me.round,
            me.id,
        ):
            values = {
                "study": self.study,
                "member": me.id,
                "round": me.round,
                "score": score,
                "checkpoint": checkpoint,
            }
            self.tx.execute(_BEST, values)
            self.release(row.best_checkpoint)
        if row.stopped is None and self.record.reached(score):
            self.tx.execute(_STOP, {"study": self.study, "why": f"{me.job} reached the target"})

    def _wake_others(self, me: Member) -> None:
        if self.record.synchronous:
            self.settle()
        elif not me.failed:
            self._revive()

    def _revive(self) -> None:
        """Let failed members look again for a donor, one after the other."""
        for member, parent_member, parent_round, address in self._waiting(_EVER):
            parent = None if parent_member is None else JobId(parent_member, parent_round)
            me = self.population.member(member)
            new = decided_head(self.record, me, parent=parent, population=self.population)
            self.release(address)
            self._move(new, {})

    def _due(self) -> int | None:
        """Return which round is to be opened for those that wait; None for none yet."""
        study = {"study": self.study}
        due = self.tx.execute(_DUE, study).fetchone()
        round_ = _EVER if due is None else int(due[0])
        at_work = self.tx.execute(_AT_WORK, {**study, "due": round_}).fetchone()[0]
        return None if at_work else round_

    def _decide_waiting(self, due: int) -> None:
        rows = self._waiting(due)
        if not rows:
            return
        population = self.population
        waiting = [
            (population.member(row[0]), None if row[1] is None else JobId(row[1], row[2]))
            for row in rows
        ]
        addresses = {
            parent: row[3]
            for row, (_, parent) in zip(rows, waiting, strict=True)
            if parent is not None
        }
        heads = round_heads(self.record, waiting, population=population)
        self.release(*addresses.values())
        for new in heads:
            self._move(new, addresses)
        self._population = None
        self.renew()

    def _waiting(self, due: int) -> list[tuple[int, int | None, int, str | None]]:
        rows = self.tx.execute(_WAITING, {"study": self.study, "due": due}).fetchall()
        return sorted(rows, key=itemgetter(0))


def _record(head: HeadRow, outcome: Outcome) -> JobRecord:
    job = running_job(head)
    metrics = decode(outcome.metrics)
    return replace(job, state=outcome.state, score=outcome.score, metrics=metrics)


_NOBODY = Population()

"""The population of a study, kept by a process between transactions and fed by the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from evolvent.core.population import Population
from evolvent.core.records import JobId, JobRecord, Member
from evolvent.store.sql.database import Transaction
from evolvent.store.sql.rows import ID_STRIDE, LOG, LazyHyperparameters, Row, finished_job, id_range
from evolvent.validation import MOST

_NEWER = """
SELECT id, member, round, score, hyperparameters FROM job
WHERE id >= :last_line AND id < :end ORDER BY id
"""
_NEWEST_OF_ALL = """
SELECT j.id, j.member, j.round, j.score, j.hyperparameters
FROM member m JOIN job j ON j.study = m.study AND j.member = m.member AND j.round = m.round - 1
WHERE m.id >= :begin AND m.id < :end
"""
_SCORES = """
WITH RECURSIVE line (score, parent_member, parent_round, age) AS (
    SELECT score, parent_member, parent_round, 0 FROM job
    WHERE study = :study AND member = :member AND round = :round
    UNION ALL
    SELECT j.score, j.parent_member, j.parent_round, line.age + 1
    FROM line JOIN job j
    ON j.study = :study AND j.member = line.parent_member AND j.round = line.parent_round
    WHERE line.age < :window
)
SELECT score FROM line WHERE score IS NOT NULL ORDER BY age LIMIT :window
"""
_NEWEST_ROUND = """
SELECT max(round) FROM job WHERE study = :study AND member = :member AND round <= :round
"""
_ROUND_SCORES = """
SELECT j.member, j.score
FROM member m JOIN job j ON j.study = m.study AND j.member = m.member AND j.round = :round
WHERE m.id >= :begin AND m.id < :end AND m.round = :round + 2
"""


def lineage_scores(tx: Transaction, study: int, job: JobId, window: int) -> list[float]:
    """Return at most `window` scores of a finished job and its ancestors, the oldest first."""
    values = {"study": study, "member": job.member, "round": job.round, "window": window}
    return [score for (score,) in tx.execute(_SCORES, values)][::-1]


class LogHistory:
    """The finished part of a study's log, read within a transaction when an algorithm asks."""

    def __init__(self, study: int) -> None:
        self.tx: Transaction
        self._study = study

    def scores(self, member: int, window: int, *, round: int | None = None) -> Sequence[float]:
        values = {"study": self._study, "member": member}
        values["round"] = MOST if round is None else round
        (newest,) = self.tx.execute(_NEWEST_ROUND, values).fetchone()
        if newest is None:
            return []
        return lineage_scores(self.tx, self._study, JobId(member, newest), window)

    def round_scores(self, round: int) -> Mapping[int, float | None]:
        values = {**id_range(self._study), "round": round}
        return dict(self.tx.execute(_ROUND_SCORES, values).fetchall())

    def jobs(self) -> Sequence[JobRecord]:
        return tuple(map(finished_job, self.tx.execute(LOG, id_range(self._study))))


class PopulationCache:
    """The population of one study, brought up to date by the lines the log has grown by.

    It is read anew when the last line it knows is not what it was: a server that has crashed may
    have lost the last reports of studies with durability "process".

    Between a change and its commit it is in doubt: whatever keeps the transaction from committing
    (an error, a full disk, a fork) makes the next one read everything again.
    """

    def __init__(self, study: int) -> None:
        self.history = LogHistory(study)
        self._last_line = self._begin = study * ID_STRIDE
        self._end = (study + 1) * ID_STRIDE
        self._population: Population | None = None
        self._last_job: tuple[Any, ...] = ()  # member, round and score of the line last seen
        self._confirmed = False

    def read(self, tx: Transaction) -> Population:
        """Return the population as this transaction sees it; `confirm` belongs after its commit."""
        population = self._population
        if population is None or not self._confirmed:
            population = self._read_all(tx)
        else:
            population = self._read_newer(tx, population)
        # In doubt until the commit: an error in between leaves the population half changed.
        self.history.tx = tx
        self._confirmed = False
        return population

    def confirm(self) -> None:
        """Trust what was read and changed: the transaction has been committed."""
        self._confirmed = True

    def _read_all(self, tx: Transaction) -> Population:
        rows = tx.execute(_NEWEST_OF_ALL, {"begin": self._begin, "end": self._end}).fetchall()
        newest = max(rows, key=itemgetter(0), default=(self._begin,))
        self._last_line, self._last_job = newest[0], newest[1:4]
        self._population = Population(map(_member, rows), self.history)
        return self._population

    def _read_newer(self, tx: Transaction, population: Population) -> Population:
        rows = tx.execute(_NEWER, {"last_line": self._last_line, "end": self._end}).fetchall()
        if self._last_line > self._begin:
            # The last line we know is read again: numbers are given anew after a crash of the
            # server that lost the last reports, so the same number may be another job.
            if not rows or rows[0][:4] != (self._last_line, *self._last_job):
                return self._read_all(tx)
            del rows[0]
        if rows:
            population.update(*map(_member, rows))
            self._last_line, self._last_job = rows[-1][0], rows[-1][1:4]
        return population


def _member(row: Row) -> Member:
    _, member, round_, score, hyperparameters = row
    return Member(member, round_, score, LazyHyperparameters(hyperparameters))

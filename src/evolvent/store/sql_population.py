"""What a process remembers of a study between transactions: its population, fed by the log."""

from __future__ import annotations

from collections.abc import Sequence

from evolvent.core.population import Population
from evolvent.core.records import JobRecord, Member
from evolvent.store.sql_rows import JOB, decode, finished_job
from evolvent.store.sqlite import Transaction

_NEWER = """
SELECT j.seq, j.member, j.round, j.score, j.hyperparameters,
       m.parent_member = j.member AND m.parent_round = j.round
FROM job j JOIN member m ON m.study = j.study AND m.member = j.member AND m.round = j.round + 1
WHERE j.study = :study AND j.seq > :seq
ORDER BY j.seq
"""
_ALL = """
SELECT j.seq, j.member, j.round, j.score, j.hyperparameters,
       m.parent_member = j.member AND m.parent_round = j.round
FROM member m JOIN job j ON j.study = m.study AND j.member = m.member AND j.round = m.round - 1
WHERE m.study = :study
"""
_LINE = """
WITH RECURSIVE line (member, round, score, parent_member, parent_round, age) AS (
    SELECT j.member, j.round, j.score, j.parent_member, j.parent_round, 0
    FROM job j JOIN member m ON m.study = j.study AND m.member = j.member AND m.round = j.round + 1
    WHERE j.study = :study AND j.member = :member
    UNION ALL
    SELECT j.member, j.round, j.score, j.parent_member, j.parent_round, l.age + 1
    FROM line l JOIN job j
    ON j.study = :study AND j.member = l.parent_member AND j.round = l.parent_round
    WHERE l.age < :window
)
SELECT score FROM line WHERE score IS NOT NULL ORDER BY age LIMIT :window
"""
_LOG = f"SELECT {JOB} FROM job j WHERE j.study = :study ORDER BY j.seq"


class LogHistory:
    """The finished part of a study's log, read within a transaction when an algorithm asks."""

    def __init__(self, tx: Transaction, study: int) -> None:
        self._tx = tx
        self._study = study

    def scores(self, member: int, window: int) -> Sequence[float]:
        values = {"study": self._study, "member": member, "window": window}
        return [score for (score,) in self._tx.execute(_LINE, values)][::-1]

    def jobs(self) -> Sequence[JobRecord]:
        return tuple(map(finished_job, self._tx.execute(_LOG, {"study": self._study})))


class PopulationCache:
    """The population of one study, brought up to date by the log's sequence numbers.

    Between a change and its commit it is in doubt: whatever keeps the transaction from committing
    (an error, a full disk, a fork) makes the next one read everything again.
    """

    def __init__(self, study: int) -> None:
        self._study = study
        self._epoch = -1
        self._seq = 0
        self._population: Population | None = None
        self._sure = False

    def read(self, tx: Transaction, *, epoch: int) -> Population:
        """Return the population as this transaction sees it; `confirm` belongs after its commit."""
        population = self._population
        if population is None or not self._sure or epoch != self._epoch:
            population = self._load(tx)
        else:
            self._feed(tx, population)
        self._epoch, self._sure = epoch, False
        population.history = LogHistory(tx, self._study)
        return population

    def seen(self, seq: int) -> None:
        """Take note that the population holds the log up to this number."""
        self._seq = seq

    def confirm(self) -> None:
        """Trust what was read and changed: the transaction has been committed."""
        self._sure = True

    def _load(self, tx: Transaction) -> Population:
        rows = tx.execute(_ALL, {"study": self._study}).fetchall()
        self._seq = max((row[0] for row in rows), default=0)
        self._population = Population(
            Member(member, round_, score, decode(hyperparameters), bool(available))
            for _, member, round_, score, hyperparameters, available in rows
        )
        return self._population

    def _feed(self, tx: Transaction, population: Population) -> None:
        rows = tx.execute(_NEWER, {"study": self._study, "seq": self._seq})
        for seq, member, round_, score, hyperparameters, available in rows:
            values = decode(hyperparameters)
            population.update(Member(member, round_, score, values, bool(available)))
            self._seq = seq

"""The finished part of a study's log as columns: what every analysis reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.errors import UnknownJob
from evolvent.store.protocol import Store
from evolvent.store.records import StudyStatus

Column: TypeAlias = NDArray[Any]

_PAGE = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Log:
    """Finished jobs in the order of their reports: one array a column, one row [n] a job.

    Attributes:
        status: how the study stood when the log was read, with its settings.
        member, round: int32 [n].
        parent: int64 [n], the row of the job whose checkpoint it started from; -1: fresh weights.
        score: float64 [n], higher is better; NaN where the job has failed.
        failed: bool [n].
        attempt: int32 [n].
        started_at, finished_at: float64 [n], seconds since 1970 on the store's clock.
        hyperparameters: by flat name: float64 [n], or object [n] for what is not a number.
        metrics: by name: float64 [n]; NaN where training did not report it.
        rows: int64 [members, rounds]: the row of a member's round; -1 where there is none.
    """

    status: StudyStatus
    member: NDArray[np.int32]
    round: NDArray[np.int32]
    parent: NDArray[np.int64]
    score: NDArray[np.float64]
    failed: NDArray[np.bool_]
    attempt: NDArray[np.int32]
    started_at: NDArray[np.float64]
    finished_at: NDArray[np.float64]
    hyperparameters: Mapping[str, Column]
    metrics: Mapping[str, NDArray[np.float64]]
    rows: NDArray[np.int64]

    @classmethod
    def read(cls, store: Store, study: int) -> Log:
        """Read the whole log of a study.

        Raises:
            UnknownStudy: there is none of that number.
        """
        return cls.of(store.status(study), list(_pages(store, study)))

    @classmethod
    def of(cls, status: StudyStatus, jobs: Sequence[JobRecord]) -> Log:
        """Return finished jobs, in the order of their reports, as columns."""
        member = np.array([job.member for job in jobs], np.int32)
        round_ = np.array([job.round for job in jobs], np.int32)
        score = [np.nan if job.score is None else job.score for job in jobs]
        rows = _rows(member, round_)
        parents = [(-1, -1) if (p := job.parent) is None else (p.member, p.round) for job in jobs]
        return cls(
            status=status,
            member=member,
            round=round_,
            parent=np.array([-1 if m < 0 else rows[m, r] for m, r in parents], np.int64),
            score=np.array(score, np.float64),
            failed=np.array([job.state is JobState.FAILED for job in jobs], np.bool_),
            attempt=np.array([job.attempt for job in jobs], np.int32),
            started_at=_numbers([job.started_at for job in jobs]),
            finished_at=_numbers([job.finished_at for job in jobs]),
            hyperparameters={
                name: _column([job.hyperparameters.get(name) for job in jobs])
                for name in _names(job.hyperparameters for job in jobs)
            },
            metrics={
                name: _numbers([job.metrics.get(name) for job in jobs])
                for name in _names(job.metrics for job in jobs)
            },
            rows=rows,
        )

    def __len__(self) -> int:
        return len(self.member)

    def id(self, row: int) -> JobId:
        """Return the id of the job in a row."""
        return JobId(int(self.member[row]), int(self.round[row]))

    def row(self, job: JobId) -> int:
        """Return the row of a job.

        Raises:
            UnknownJob: no such job has finished.
        """
        members, rounds = self.rows.shape
        there = job.member < members and job.round < rounds
        row = self.rows[job.member, job.round] if there else -1
        if row < 0:
            raise UnknownJob(f"study {self.status.record.name!r} has no finished job {job}")
        return int(row)

    def lineage(self, row: int) -> NDArray[np.int64]:
        """Return the rows of a job and its ancestors, round 0 first."""
        line = []
        while row >= 0:
            line.append(row)
            row = int(self.parent[row])
        return np.array(line[::-1], np.int64)


def _pages(store: Store, study: int) -> Iterator[JobRecord]:
    after = 0
    while page := store.jobs(
        study, states=(JobState.DONE, JobState.FAILED), after=after, limit=_PAGE
    ):
        yield from page
        after += len(page)


def _rows(member: NDArray[np.int32], round_: NDArray[np.int32]) -> NDArray[np.int64]:
    if not len(member):
        return np.full((0, 0), -1, np.int64)
    rows = np.full((int(member.max()) + 1, int(round_.max()) + 1), -1, np.int64)
    rows[member, round_] = np.arange(len(member))
    return rows


def _names(found: Iterator[Mapping[str, Any]]) -> list[str]:
    names: dict[str, None] = {}
    for values in found:
        names.update(dict.fromkeys(values))
    return list(names)


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _column(values: Sequence[Any]) -> Column:
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        return np.array(values, np.float64)
    column = np.empty(len(values), object)
    column[:] = values
    return column

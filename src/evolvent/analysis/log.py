"""The finished part of a study's log as columns: what every analysis reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evolvent.analysis.columns import (
    Column,
    Flags,
    JsonColumns,
    NumberColumns,
    Numbers,
    Rows,
    ValueColumns,
    decode_all,
    gc_paused,
    pages,
)
from evolvent.core.records import JobId, JobRecord
from evolvent.errors import UnknownJob
from evolvent.store.protocol import Store
from evolvent.store.records import JobColumn, StudyStatus

_NUMBERS: Mapping[JobColumn, Any] = {
    "member": np.int32, "round": np.int32, "parent_member": np.float64, "parent_round": np.float64,
    "score": np.float64, "attempt": np.int32, "started_at": np.float64, "finished_at": np.float64,
}  # fmt: skip
"""The columns that hold one number each, with their types: None becomes NaN."""
_COLUMNS: tuple[JobColumn, ...] = (*_NUMBERS, "hyperparameters", "metrics")
_NO_JOBS: Sequence[Sequence[Any]] = ((),) * len(_NUMBERS)


@dataclass(frozen=True, slots=True, eq=False)
class Log:
    """Finished jobs in the order of their reports: one array a column, one row [n] a job.

    Attributes:
        status: how the study stood when the log was read, with its settings.
        member, round: int32 [n].
        parent: int64 [n], the row of the job whose checkpoint it started from; -1: fresh weights,
            or a parent that is not in the log.
        score: float64 [n], higher is better; NaN where the job has failed.
        failed: bool [n].
        attempt: int32 [n].
        started_at, finished_at: float64 [n], seconds since 1970 on the store's clock.
        hyperparameters: by flat name: int64 [n] or float64 [n] where all are numbers, else
            object [n].
        metrics: those that have a number, by name: float64 [n]; NaN where training did not report
            one.
        reported: by the same names: bool [n], whether training reported a number (NaN included).
        rows: int64 [members, rounds]: the row of a member's round; -1 where there is none.
        others: by name: object [n], what training reported that is no number; None elsewhere.
    """

    status: StudyStatus
    member: NDArray[np.int32]
    round: NDArray[np.int32]
    parent: Rows
    score: Numbers
    failed: Flags
    attempt: NDArray[np.int32]
    started_at: Numbers
    finished_at: Numbers
    hyperparameters: Mapping[str, Column]
    metrics: Mapping[str, Numbers]
    reported: Mapping[str, Flags]
    rows: Rows
    others: Mapping[str, Column] = field(default_factory=dict)

    @classmethod
    def read(cls, store: Store, study: int) -> Log:
        """Read the whole log of a study.

        Raises:
            UnknownStudy: there is none of that number.
        """
        return read_with(store, study, ())[0]

    @classmethod
    def of(cls, status: StudyStatus, jobs: Sequence[JobRecord]) -> Log:
        """Return jobs, finished ones in the order of their reports, as columns."""
        hyperparameters, metrics = ValueColumns(), NumberColumns()
        page = list(zip(*map(_cells, jobs), strict=True)) or _NO_JOBS
        hyperparameters.add([job.hyperparameters for job in jobs])
        metrics.add([job.metrics for job in jobs])
        return _build_log(status, [_plain(page)], hyperparameters.columns(), metrics)

    def __len__(self) -> int:
        return len(self.member)

    def __contains__(self, job: object) -> bool:
        """Whether a job, given by its id, has finished."""
        return isinstance(job, JobId) and self._row(job) >= 0

    def id(self, row: int) -> JobId:
        """Return the id of the job in a row."""
        return JobId(int(self.member[row]), int(self.round[row]))

    def row(self, job: JobId) -> int:
        """Return the row of a job.

        Raises:
            UnknownJob: no such job has finished.
        """
        row = self._row(job)
        if row < 0:
            raise UnknownJob(
                f"study {self.status.record.name!r} has no finished job {job}: "
                f"{self._finished_jobs(job)}"
            )
        return row

    def best_row(self, first: int | None = None, *, window: int | None = None) -> int | None:
        """Return the row of the best job; of equals the lowest round, then the lowest member.

        Args:
            first: look among so many jobs, in the order of their reports; None: among all.
            window: the mean of how many scores along the lineage chooses; None: as the study says.

        Returns:
            None where no job is done.
        """
        wanted = self.status.record.best_window if window is None else window
        best = self.status.best
        own = first is None and wanted == self.status.record.best_window > 1
        if own and best is not None and best in self:
            return self._row(best)  # our means are rounded: which of equal ones, the store knows
        n, mean = self.last_scores(wanted)
        n, mean = n[:first], mean[:first]
        if not n.any():
            return None
        mean = np.where(n == n.max(), mean, np.nan)
        rows = np.flatnonzero(mean == np.nanmax(mean))
        return int(rows[np.lexsort((self.member[rows], self.round[rows]))[0]])

    def last_scores(self, window: int) -> tuple[Rows, Numbers]:
        """Return how many scores each job has behind it, itself included, and their mean.

        Returns:
            int64 [n], at most `window`, and 0 where the job has failed; float64 [n], the mean of so
            many last scores along its lineage, NaN where it has failed.
        """
        n, total, at = (~self.failed).astype(np.int64), self.score / window, self.parent
        for _ in range(window - 1):
            known = (at >= 0) & ~self.failed & ~self.failed[at]
            if not known.any():
                break
            n, total = n + known, total + np.where(known, self.score[at] / window, 0.0)
            at = np.where(at >= 0, self.parent[at], -1)
        # Divided first: the sum of the largest scores there are would be infinite.
        return n, np.where(n == window, total, total * (window / np.maximum(n, 1)))

    def copied(self) -> Flags:
        """Return bool [n]: whether a job started from the checkpoint of another member."""
        # For no parent, -1 looks at the last row: whatever is there, the first condition refuses.
        return np.asarray((self.parent >= 0) & (self.member[self.parent] != self.member))

    def lineage(self, row: int) -> Rows:
        """Return the rows of a job and its ancestors, round 0 first."""
        line = []
        while row >= 0:
            line.append(row)
            row = int(self.parent[row])
        return np.array(line[::-1], np.int64)

    def _row(self, job: JobId) -> int:
        members, rounds = self.rows.shape
        present = 0 <= job.member < members and 0 <= job.round < rounds
        return int(self.rows[job.member, job.round]) if present else -1

    def _finished_jobs(self, job: JobId) -> str:
        members = len(self.rows)
        if not members:
            return "none has finished yet"
        if job.member >= members:
            return f"members 0 to {members - 1} have finished jobs"
        done = np.flatnonzero(self.rows[job.member] >= 0)
        present = f"rounds {done[0]} to {done[-1]}" if done.size else "none"
        return f"member {job.member} has finished {present}"


def read_with(
    store: Store, study: int, columns: Sequence[JobColumn]
) -> tuple[Log, list[list[Any]]]:
    """Read a log with more of its columns, each a list with one value a job.

    Raises:
        UnknownStudy: there is none of that number.
    """
    # The status first: what is reported meanwhile is in the log, so no job is counted that is not.
    status, n = store.status(study), len(_COLUMNS)
    plain, hyperparameters, metrics = [_plain(_NO_JOBS)], JsonColumns(), NumberColumns()
    more: list[list[Any]] = [[] for _ in columns]
    with gc_paused():
        for page in pages(store, study, (*_COLUMNS, *columns)):
            plain.append(_plain(page[: len(_NUMBERS)]))
            hyperparameters.add(page[n - 2])
            metrics.add(decode_all(page[n - 1]))
            for column, cells in zip(more, page[n:], strict=True):
                column.extend(cells)
        return _build_log(status, plain, hyperparameters.columns(), metrics), more


def _plain(page: Sequence[Sequence[Any]]) -> list[Column]:
    """Return a page of the columns that hold one number each, in the order of `_NUMBERS`."""
    return [np.array(values, kind) for values, kind in zip(page, _NUMBERS.values(), strict=True)]


def _build_log(
    status: StudyStatus,
    plain: Sequence[Sequence[Column]],
    hyperparameters: Mapping[str, Column],
    metrics: NumberColumns,
) -> Log:
    columns = dict(zip(_NUMBERS, map(np.concatenate, zip(*plain, strict=True)), strict=True))
    rows = _rows(columns["member"], columns["round"])
    return Log(
        status=status,
        parent=_parents(rows, columns.pop("parent_member"), columns.pop("parent_round")),
        failed=np.isnan(columns["score"]),  # a done job has a score, always
        hyperparameters=_in_space_order(status.record.space, hyperparameters),
        metrics=metrics.columns(),
        reported=metrics.present(),
        others=metrics.others(),
        rows=rows,
        **columns,
    )


def _cells(job: JobRecord) -> tuple[Any, ...]:
    parent = (None, None) if job.parent is None else (job.parent.member, job.parent.round)
    times = (job.started_at, job.finished_at)
    return (job.member, job.round, *parent, job.score, job.attempt, *times)


def _rows(member: NDArray[np.int32], round_: NDArray[np.int32]) -> Rows:
    if not len(member):
        return np.full((0, 0), -1, np.int64)
    rows = np.full((int(member.max()) + 1, int(round_.max()) + 1), -1, np.int64)
    rows[member, round_] = np.arange(len(member))
    return rows


def _parents(rows: Rows, member: Numbers, round_: Numbers) -> Rows:
    """Return the rows of parents; -1 for none (NaN), and for one that is not in the log."""
    parent = np.full(len(member), -1, np.int64)
    known = (member < rows.shape[0]) & (round_ < rows.shape[1])
    parent[known] = rows[member[known].astype(np.int64), round_[known].astype(np.int64)]
    return parent


def _in_space_order(space: Mapping[str, Any], columns: Mapping[str, Column]) -> dict[str, Column]:
    """Return hyperparameters in the order of the space, also those of a log without jobs."""
    names = [name for name in (*space, *columns) if name in columns or not columns]
    return {name: columns.get(name, np.zeros(0)) for name in names}

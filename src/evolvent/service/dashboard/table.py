"""The table of jobs: which are shown, in which order and columns; a page at a time, or as CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.core.study import StudyRecord
from evolvent.core.values import as_cell
from evolvent.service.dashboard.column_cache import Columns, search_text
from evolvent.service.dashboard.query import PLAIN, Order, Query, TableColumn
from evolvent.store.protocol import Store
from evolvent.store.records import JobColumn, StudyStatus
from evolvent.validation import cut, invalid

ROWS = 50
_MOST_DEFAULT = 6  # hyperparameters shown unless others are chosen
_FINISHED = (JobState.DONE, JobState.FAILED)
_OPEN = (JobState.RUNNING, JobState.QUEUED, JobState.CANCELLED)
_H, _M = "h.", "m."
_NUMBERS = frozenset({"score", "attempt", "started", "took", "finished"})
_WIDE = 1 << 31
_CHUNK = 1000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MADE_OF: Mapping[str, Sequence[JobColumn]] = {
    "job": ("member", "round"), "state": ("state",), "score": ("score",),
    "parent": ("parent_member", "parent_round"), "attempt": ("attempt",), "worker": ("worker",),
    "started": ("started_at",), "finished": ("finished_at",),
    "took": ("finished_at", "started_at"), "reason": ("reason",),
}  # fmt: skip
"""Columns of the log, by the key of the column that is made of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of the table.

    Attributes:
        columns: that are shown.
        choices: all that there are.
        pages: how many there are, 1 or more.
        matching: how many jobs there are with this search and state.
        all: how many there are.
    """

    query: Query
    columns: Sequence[TableColumn]
    choices: Sequence[TableColumn]
    jobs: Sequence[JobRecord]
    pages: int
    matching: int
    all: int

    @property
    def first(self) -> int:
        return (self.query.page - 1) * ROWS + 1 if self.jobs else 0

    @property
    def last(self) -> int:
        return self.first + len(self.jobs) - 1 if self.jobs else 0


class Table:
    """The jobs of a study as they stand now.

    Attributes:
        finished: how many there are; they come first in the order of rows.
        open: running, queued and cancelled ones, the rows behind them.
    """

    def __init__(self, store: Store, status: StudyStatus, columns: Columns) -> None:
        self.store, self.status, self.columns = store, status, columns
        self.finished = status.n_finished
        wanted = [state for state in _OPEN if status.counts[state]]
        self.open = store.jobs(status.id, states=wanted) if wanted else []
        self.open.sort(key=lambda job: (_OPEN.index(job.state), job.round, job.member))

    def page(self, query: Query) -> Page:
        """Return one page.

        Raises:
            ConfigError: an unknown column; names those there are.
        """
        choices = self.choices()
        shown = _chosen(query, choices)
        rows = self.rows(query)
        pages = max(1, math.ceil(len(rows) / ROWS))
        query = replace(query, page=min(query.page, pages))
        start = (query.page - 1) * ROWS
        return Page(
            query=query,
            columns=shown,
            choices=choices,
            jobs=list(self.jobs(rows[start : start + ROWS].tolist())),
            pages=pages,
            matching=len(rows),
            all=self.finished + len(self.open),
        )

    def choices(self) -> list[TableColumn]:
        """Return all columns that there are; with metrics of the first job and the best."""
        record = self.status.record
        known = self.store.jobs(self.status.id, states=[JobState.DONE], limit=1)
        if self.status.best is not None:
            known.append(self.store.job(self.status.id, self.status.best))
        metrics = dict.fromkeys(name for job in known for name in job.metrics)
        metrics.pop(record.metric, None)
        plain = [TableColumn(key, title, key in _NUMBERS) for key, title in PLAIN.items()]
        plain[2] = TableColumn("score", record.metric, number=True)
        own = [TableColumn(f"{_H}{name}", name, number=True) for name in record.space]
        others = [TableColumn(f"{_M}{name}", name, number=True) for name in metrics]
        return [*plain[:4], *own, *others, *plain[4:]]

    def rows(self, query: Query) -> NDArray[np.int64]:
        """Return the numbers of the rows that a query wants, in its order."""
        finished, n = self.finished, self.finished + len(self.open)
        found = np.concatenate([np.arange(finished, n), np.arange(finished)[::-1]])
        if query.state:
            found = found[self._in_state(query.state)[found]]
        if query.search:
            found = found[self._matching(query.search)[found]]
        if query.sort and len(found):
            found = _sorted(found, self._values(query.sort), query.order)
        return found

    def jobs(self, rows: Sequence[int]) -> Iterator[JobRecord]:
        """Yield the jobs of some rows; neighbours are read together."""
        for is_open, some in groupby(rows, lambda row: row >= self.finished):
            if is_open:
                yield from (self.open[row - self.finished] for row in some)
            else:
                for first, last in _runs(list(some)):
                    yield from self._between(first, last)

    def _between(self, first: int, last: int) -> Iterator[JobRecord]:
        low, high = min(first, last), max(first, last)
        found = self.store.jobs(self.status.id, states=_FINISHED, after=low, limit=high - low + 1)
        yield from found if first <= last else reversed(found)

    def _in_state(self, state: str) -> NDArray[np.bool_]:
        matches = np.zeros(self.finished + len(self.open), np.bool_)
        shown = self.status.shown_state
        matches[self.finished :] = [state in (job.state, shown(job)) for job in self.open]
        if state in _FINISHED:
            column = self.columns.plain("state", self.finished)
            matches[: len(column)] = [value == state for value in column]
        return matches

    def _matching(self, search: str) -> NDArray[np.bool_]:
        """Return which rows have the text; in JSON it may stand escaped."""
        text = search.lower()
        escaped = json.dumps(text)[1:-1]
        texts = [*self.columns.texts(self.finished), *map(_open_text, self.open)]
        matches = [text in text_of_row or escaped in text_of_row for text_of_row in texts]
        return np.array(matches, np.bool_)

    def _values(self, key: str) -> NDArray[Any]:
        """Return what a column sorts by, for every row."""
        own = _comparable([self._of_open(key, job) for job in self.open])
        values = self.columns.sorting(
            key, self.finished, lambda: _comparable(self._of_finished(key))
        )
        if not len(own) or not len(values):
            return own if len(own) else values
        if values.dtype != own.dtype:
            values, own = _as_texts(values), _as_texts(own)
        return np.concatenate([values, own])

    def _of_finished(self, key: str) -> Sequence[Any]:
        n = self.finished
        if key.startswith((_H, _M)):
            mapping: JobColumn = "hyperparameters" if key.startswith(_H) else "metrics"
            return list(self.columns.mapped(mapping, key[len(_H) :], n).tolist())
        columns = [self.columns.plain(name, n) for name in _MADE_OF[key]]
        if key == "score":
            sign = self.status.record.score(1.0)
            return [None if score is None else sign * score for score in columns[0]]
        if len(columns) == 1:
            return columns[0]
        pairs = zip(*columns, strict=True)
        if key == "took":
            return [None if a is None or b is None else a - b for a, b in pairs]
        return [None if a is None else a * _WIDE + b for a, b in pairs]

    def _of_open(self, key: str, job: JobRecord) -> Any:
        found = cell(job, key, self.status.record)
        return found.member * _WIDE + found.round if isinstance(found, JobId) else found


def _chosen(query: Query, choices: Sequence[TableColumn]) -> list[TableColumn]:
    known = {column.key: column for column in choices}
    if unknown := [key for key in query.columns if key not in known]:
        raise invalid("columns", f"got {cut(unknown[0])}, wanted some of {', '.join(known)}")
    if query.sort and query.sort not in known:
        raise invalid("sort", f"got {cut(query.sort)}, wanted one of {', '.join(known)}")
    if query.columns:
        return [column for column in choices if column.key in query.columns]
    own = [key for key in known if key.startswith(_H)][:_MOST_DEFAULT]
    wanted = ["job", "state", "score", "parent", *own, "took", "finished"]
    return [known[key] for key in wanted]


def _comparable(values: Sequence[Any]) -> NDArray[Any]:
    """Return numbers as they are; if there is anything else, texts of all. Nothing stays None."""
    if all(value is None or isinstance(value, (int, float)) for value in values):
        return np.array([math.nan if value is None else _as_float(value) for value in values])
    column = np.empty(len(values), object)
    column[:] = [None if value is None else str(value).lower() for value in values]
    return column


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf if value > 0 else -math.inf


def _as_texts(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype == object:
        return values
    return _comparable([None if math.isnan(value) else f"{value}" for value in values.tolist()])


def _sorted(rows: NDArray[np.int64], values: NDArray[Any], order: Order) -> NDArray[np.int64]:
    """Return rows by value; those without one come last, either way; ties stay as they were."""
    values_of_rows = values[rows]
    if values_of_rows.dtype == object:
        present = np.array([value is not None for value in values_of_rows], np.bool_)
        _, rank = np.unique(values_of_rows[present].astype(str), return_inverse=True)
    else:
        present = ~np.isnan(values_of_rows)
        rank = values_of_rows[present]
    positions = np.argsort(rank if order == "ascending" else -rank, kind="stable")
    return np.concatenate([rows[present][positions], rows[~present]])


def _runs(rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of neighbours that are one apart, all upwards or all downwards."""
    start = 0
    for i in range(1, len(rows) + 1):
        step = rows[start + 1] - rows[start] if i > start + 1 else 0
        if i < len(rows) and rows[i] - rows[i - 1] in ({step} if step else {1, -1}):
            continue
        yield rows[start], rows[i - 1]
        start = i


def _open_text(job: JobRecord) -> str:
    parent = (None, None) if job.parent is None else (job.parent.member, job.parent.round)
    given = json.dumps(dict(job.hyperparameters))
    return search_text(
        (job.member, job.round, job.state, *parent, given, None, job.worker, job.reason, job.error)
    )


def cell(job: JobRecord, key: str, record: StudyRecord) -> Any:
    """Return what stands in a column for a job; None for nothing."""
    if key.startswith(_H):
        return job.hyperparameters.get(key[len(_H) :])
    if key.startswith(_M):
        return job.metrics.get(key[len(_M) :])
    ended = job.started_at is not None and job.finished_at is not None
    values = {
        "job": job.id, "state": job.state.value, "parent": job.parent, "attempt": job.attempt,
        "score": None if job.score is None else 0.0 + record.score(job.score),
        "worker": job.worker, "started": job.started_at, "finished": job.finished_at,
        "took": (job.finished_at or 0.0) - (job.started_at or 0.0) if ended else None,
        "reason": job.reason,
    }  # fmt: skip
    return values[key]


def csv_blocks(table: Table, query: Query) -> Generator[bytes, None, None]:
    """Yield the jobs that a query wants, in the order of the log, with all columns.

    A file for spreadsheets, made while it is sent.
    """
    columns, record = table.choices(), table.status.record
    yield _lines([[_plain(column.title) for column in columns]])
    rows = np.sort(table.rows(Query(search=query.search, state=query.state))).tolist()
    for start in range(0, len(rows), _CHUNK):
        jobs = table.jobs(rows[start : start + _CHUNK])
        yield _lines([[_plain(cell(job, c.key, record)) for c in columns] for job in jobs])


def csv_name(study: str) -> str:
    """Return the name of the file: plain characters only, whatever the study is called."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", study).strip("-.")[:60]
    return f"{plain or 'study'}-jobs.csv"


def _plain(value: Any) -> Any:
    """Return a cell; a text that a spreadsheet would run is marked as text."""
    value = as_cell(value)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def _lines(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()

"""The table of jobs as a file for spreadsheets, made while it is sent."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from evolvent.core.records import JobRecord
from evolvent.core.study import StudyRecord
from evolvent.service.dashboard.query import Query, TableColumn
from evolvent.service.dashboard.table import Table, cell

_CHUNK = 1000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_blocks(table: Table, query: Query) -> Iterator[bytes]:
    """Yield the jobs that a query wants, in the order of the log, with all columns."""
    columns, record = table.choices(), table.status.record
    yield _lines([[_plain(column.title) for column in columns]])
    rows = np.sort(table.rows(Query(search=query.search, state=query.state))).tolist()
    for start in range(0, len(rows), _CHUNK):
        jobs = table.jobs(rows[start : start + _CHUNK])
        yield _lines([_row(job, columns, record) for job in jobs])


def csv_name(study: str) -> str:
    """Return the name of the file: plain characters only, whatever the study is called."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", study).strip("-.")[:60]
    return f"{plain or 'study'}-jobs.csv"


def _row(job: JobRecord, columns: Sequence[TableColumn], record: StudyRecord) -> list[Any]:
    return [_plain(cell(job, column.key, record)) for column in columns]


def _plain(value: Any) -> Any:
    """Return a cell; a text that a spreadsheet would run is marked as text."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def _lines(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()

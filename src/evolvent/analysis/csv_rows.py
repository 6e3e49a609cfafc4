"""Rows of CSV that every reader takes apart as they were put together."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from typing import Any, Protocol


class _Text(Protocol):
    def write(self, text: str, /) -> object: ...


class _LineFeeds:
    """Ends by a line feed what `csv` ends by both: else it puts no quotes round a lone return.

    Readers, pandas too, take that for the end of a row.
    """

    def __init__(self, file: _Text) -> None:
        self._file = file

    def write(self, row: str) -> object:
        return self._file.write(row.removesuffix("\r\n") + "\n")


def row_writer(file: _Text) -> Callable[[Sequence[Any]], object]:
    """Return what writes a row of cells as one line of CSV; None is empty."""
    return csv.writer(_LineFeeds(file)).writerow

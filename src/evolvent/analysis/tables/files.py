"""Tables as CSV, JSON and Parquet files: written aside and renamed, so never half there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from evolvent.analysis.csv_rows import row_writer
from evolvent.analysis.tables.table import Cells, ColumnKind, Table
from evolvent.store.atomic_write import replacing

ReadTable: TypeAlias = Callable[[], Table]
"""Reads a table; called when it is known that the file can be written."""

_ROWS = 10_000
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def to_csv(read: ReadTable, path: str | os.PathLike[str]) -> Path:
    """Write a table as CSV with a line of titles; what is missing is empty, times are ISO 8601."""
    with replacing(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        table, write = read(), row_writer(file)
        write(list(table))
        for rows in _pages(table, _plain_values):
            for row in rows:
                write(row)
    return Path(path)


def to_json(read: ReadTable, path: str | os.PathLike[str]) -> Path:
    """Write a table as a JSON list with one object a row.

    What is missing is null, and so is what JSON has no number for (NaN, infinities).
    """
    with replacing(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as file:
        table, before = read(), "["
        for rows in _pages(table, _finite_values):
            for row in rows:
                file.write(f"{before}\n{_encode(dict(zip(table, row, strict=True)))}")
                before = ","
        file.write("[]\n" if before == "[" else "\n]\n")
    return Path(path)


def to_parquet(read: ReadTable, path: str | os.PathLike[str]) -> Path:
    """Write a table as Parquet.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    from evolvent.analysis.tables.as_arrow import write_parquet  # noqa: PLC0415 - when wanted

    with replacing(path) as aside:
        write_parquet(read(), aside)
    return Path(path)


def _pages(
    table: Table, plain: Callable[[Cells], Sequence[Any]]
) -> Iterator[Iterator[tuple[Any, ...]]]:
    # A page at a time: as Python objects the whole table takes many times its memory.
    n = max(map(len, table.values()), default=0)
    for start in range(0, n, _ROWS):
        part = slice(start, start + _ROWS)
        yield zip(*(plain(cells.where(part)) for cells in table.values()), strict=True)


def _plain_values(cells: Cells) -> list[Any]:
    """Return plain values, with None for missing ones."""
    values: list[Any]
    match cells.kind:
        case ColumnKind.TIME:
            values = np.datetime_as_string(cells.values, timezone="UTC").tolist()
        case ColumnKind.CATEGORY:
            values = [cells.categories[code] for code in cells.values]
        case _:
            values = cells.values.tolist()
    if not cells.missing.any():
        return values
    return [None if gap else v for v, gap in zip(values, cells.missing, strict=True)]


def _finite_values(cells: Cells) -> list[Any]:
    """Return plain values as JSON can hold them."""
    if cells.kind is ColumnKind.NUMBER:
        cells = replace(cells, missing=cells.missing | ~np.isfinite(cells.values))
    return _plain_values(cells)

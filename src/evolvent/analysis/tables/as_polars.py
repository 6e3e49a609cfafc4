"""Tables as polars frames; the only file that knows polars."""

from __future__ import annotations

from typing import assert_never

import numpy as np

from evolvent.analysis.tables.table import Cells, ColumnKind, Table
from evolvent.errors import MissingExtra

try:
    import polars as pl
except ImportError as e:
    raise MissingExtra("polars frames need polars: pip install 'evolvent[polars]'") from e


def polars_frame(table: Table) -> pl.DataFrame:
    """Return a table as a frame: Int64, Float64, Boolean, String, Categorical, Datetime in UTC."""
    return pl.DataFrame({name: _column(cells) for name, cells in table.items()})


def _column(cells: Cells) -> pl.Series:
    values = cells.values
    match cells.kind:
        case ColumnKind.WHOLE | ColumnKind.NUMBER | ColumnKind.FLAG:
            return _with_nulls(pl.Series(values), cells)
        case ColumnKind.TEXT:
            return pl.Series(values.tolist(), dtype=pl.String)
        case ColumnKind.CATEGORY:
            categories = pl.Series(cells.categories, dtype=pl.Categorical)
            return categories.gather(_with_nulls(pl.Series(values), cells))
        case ColumnKind.TIME:
            micros = pl.Series(values.astype(np.int64))
            return _with_nulls(micros, cells).cast(pl.Datetime("us", "UTC"))
        case _:
            assert_never(cells.kind)


def _with_nulls(series: pl.Series, cells: Cells) -> pl.Series:
    """Return the series with nulls where values are missing."""
    gaps = np.flatnonzero(cells.missing)
    return series.scatter(gaps, None) if gaps.size else series

"""Tables as pandas frames; the only file that knows pandas."""

from __future__ import annotations

from typing import Any, assert_never

from evolvent.analysis.tables.table import Cells, ColumnKind, Table
from evolvent.errors import MissingExtra

try:
    import pandas as pd
except ImportError as e:
    raise MissingExtra("frames need pandas: pip install 'evolvent[pandas]'") from e


def pandas_frame(table: Table) -> pd.DataFrame:
    """Return a table as a frame.

    Whole numbers are Int64, numbers float64, then boolean, string, category and
    datetime64[us, UTC]: the same types whether anything is missing or not.
    """
    return pd.DataFrame({name: _column(cells) for name, cells in table.items()}, copy=False)


def _column(cells: Cells) -> Any:
    values, missing = cells.values, cells.missing
    match cells.kind:
        case ColumnKind.WHOLE:
            return pd.arrays.IntegerArray(values, missing)
        case ColumnKind.FLAG:
            return pd.arrays.BooleanArray(values, missing)
        case ColumnKind.NUMBER:
            return pd.Series(values).mask(missing) if missing.any() else values
        case ColumnKind.TEXT:
            return pd.array(values, dtype=pd.StringDtype())
        case ColumnKind.CATEGORY:
            return pd.Categorical.from_codes(values, categories=list(cells.categories))
        case ColumnKind.TIME:
            return pd.Series(values).mask(missing).dt.tz_localize("UTC")
        case _:
            assert_never(cells.kind)

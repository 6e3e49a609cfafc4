"""Tables as pandas frames; the only file that knows pandas."""

from __future__ import annotations

from typing import Any

from evolvent.analysis.tables.table import Cells, Kind, Table
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
    return pd.DataFrame({name: _series(cells) for name, cells in table.items()}, copy=False)


def _series(cells: Cells) -> Any:
    values, missing = cells.values, cells.missing
    match cells.kind:
        case Kind.WHOLE:
            return pd.arrays.IntegerArray(values, missing)
        case Kind.FLAG:
            return pd.arrays.BooleanArray(values, missing)
        case Kind.NUMBER:
            return pd.Series(values).mask(missing) if missing.any() else values
        case Kind.TEXT:
            return pd.array(values, dtype=pd.StringDtype())
        case Kind.CATEGORY:
            return pd.Categorical.from_codes(values, categories=list(cells.categories))
        case Kind.TIME:
            return pd.Series(values).mask(missing).dt.tz_localize("UTC")

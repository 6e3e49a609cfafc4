"""Tables as Parquet files; the only file that knows pyarrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_never

from evolvent.analysis.tables.table import Cells, ColumnKind, Table
from evolvent.errors import MissingExtra

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as e:
    raise MissingExtra("Parquet files need pyarrow: pip install 'evolvent[parquet]'") from e


def write_parquet(table: Table, path: Path) -> None:
    """Write a table: int64, double, bool, string, dictionary, timestamp[us, UTC]; gaps are null."""
    columns = pa.table({name: _column(cells) for name, cells in table.items()})
    # Opened here: of a write that fails pyarrow removes the path, be it a device.
    with path.open("wb") as file:
        pq.write_table(columns, file)


def _column(cells: Cells) -> Any:
    values, missing = cells.values, cells.missing
    match cells.kind:
        case ColumnKind.WHOLE | ColumnKind.NUMBER | ColumnKind.FLAG:
            return pa.array(values, mask=missing)
        case ColumnKind.TEXT:
            return pa.array(values, pa.string(), mask=missing)
        case ColumnKind.CATEGORY:
            codes = pa.array(values, pa.int32(), mask=missing)
            return pa.DictionaryArray.from_arrays(codes, pa.array(cells.categories, pa.string()))
        case ColumnKind.TIME:
            return pa.array(values, pa.timestamp("us", "UTC"), mask=missing)
        case _:
            assert_never(cells.kind)

"""Altair, for the files of this package, with the data of its charts; says how to get it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from evolvent.errors import MissingExtra

try:
    import altair as alt
    from altair.typing import ChartType
except ImportError as e:
    raise MissingExtra("plots need Altair: pip install 'evolvent[plot]'") from e

__all__ = ["ChartType", "alt", "table"]


def table(**columns: Iterable[Any]) -> alt.InlineData:
    """Return columns as the data of a chart."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return alt.InlineData(values=rows)

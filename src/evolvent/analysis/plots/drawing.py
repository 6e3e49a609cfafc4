"""Altair, for the files of this package; says how to get it."""

from __future__ import annotations

from evolvent.errors import MissingExtra

try:
    import altair as alt
    from altair.typing import ChartType
except ImportError as e:
    raise MissingExtra("plots need Altair: pip install 'evolvent[plot]'") from e

__all__ = ["ChartType", "alt"]

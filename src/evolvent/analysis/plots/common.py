"""What figures share: titles, sizes, panels in a grid, sentences, the figure without data."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from evolvent.analysis.columns import Rows
from evolvent.analysis.plots.drawing import ChartType, alt, table
from evolvent.analysis.plots.figure import Options
from evolvent.analysis.plots.study_view import StudyView
from evolvent.core.records import JobId

_NARROW = 500  # pixels: panels stand below each other
_MARGIN_X, _MARGIN_Y = 75, 60  # pixels around a panel


def ids(view: StudyView, rows: Rows) -> list[str]:
    """Return the ids of the jobs in some rows."""
    pairs = zip(view.log.member[rows].tolist(), view.log.round[rows].tolist(), strict=True)
    return [str(JobId(member, round_)) for member, round_ in pairs]


def finish(chart: ChartType, options: Options, *, title: str, subtitle: str = "") -> ChartType:
    """Return a figure with its title and theme."""
    width, _ = options.size(760, 400)
    finished: ChartType = chart.properties(
        title=alt.TitleParams(title, limit=width - 20, **_below(subtitle, width)),
        description=f"{title}. {subtitle}".rstrip(". "),
        config=options.theme.config(),
    )
    return finished


def heading(text: str, width: int, subtitle: str = "") -> alt.TitleParams:
    """Return the title of one panel among several."""
    below = _below(subtitle, width)
    return alt.TitleParams(text, fontSize=13, offset=8, limit=width, subtitleFontSize=11, **below)


def _below(subtitle: str, width: int) -> dict[str, list[str]]:
    lines = textwrap.wrap(subtitle, max(30, width // 7))
    return {"subtitle": lines} if lines else {}


def fitted(chart: ChartType, options: Options, *, width: int = 760, height: int = 420) -> ChartType:
    """Return a chart of one panel that fills the size of the figure exactly."""
    width, height = options.size(width, height)
    sized: ChartType = chart.properties(
        width=width, height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding")
    )
    return sized


def empty(options: Options, *, title: str, message: str = "No job has finished yet.") -> ChartType:
    """Return a figure that has nothing to show, and says why."""
    text = alt.Chart(table(words=[message])).mark_text(
        fontSize=15, color=options.theme.faint, align="center"
    )
    return finish(fitted(text.encode(text="words:N"), options, height=240), options, title=title)


def count(n: int, one: str) -> str:
    """Return a number with its noun: `1 member`, `8 members`."""
    return f"{n:,} {one}" if n == 1 else f"{n:,} {one}s"


def beside(views: Sequence[StudyView]) -> str:
    """Return the names of the studies that stand beside each other."""
    return " beside ".join(view.study for view in views)


def best_summary(view: StudyView) -> str:
    """Return the sentence about the best job."""
    if view.best is None:
        return ""
    trained = count(len(view.line), "round")
    return f"Best {view.best_value}: job {view.log.id(view.best)}, {trained} of training."


class GridSize(NamedTuple):
    """How panels of one size fill a figure: columns, and the size of a panel in pixels."""

    columns: int
    width: int
    height: int

    @classmethod
    def of(cls, options: Options, panels: int) -> GridSize:
        """Return what suits so many panels."""
        narrow = options.width is not None and options.width < _NARROW
        columns = 1 if panels == 1 or narrow else 2 if panels <= 4 else 3
        rows = -(-panels // columns)
        width, height = options.size(760 if columns < 3 else 960, 90 + 230 * rows)
        wide, high = (width - 30) // columns - _MARGIN_X, (height - 90) // rows - _MARGIN_Y
        return cls(columns, max(80, wide), max(60, high))


def grid(charts: Sequence[ChartType], size: GridSize) -> alt.ConcatChart:
    """Return panels in a grid, with one legend."""
    sized = [chart.properties(width=size.width, height=size.height) for chart in charts]
    return alt.concat(*sized, columns=size.columns, spacing=26)

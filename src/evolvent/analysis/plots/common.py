"""What figures share: data, legend, titles, the star of the best, the figure without data."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from evolvent.analysis.columns import Numbers, Rows
from evolvent.analysis.plots.downsample import drawn_range
from evolvent.analysis.plots.drawing import ChartType, alt
from evolvent.analysis.plots.figure import Options
from evolvent.analysis.plots.study_view import StudyView
from evolvent.analysis.plots.theme import Theme
from evolvent.core.records import JobId

STAR = "M0,-1L.235,-.324L.951,-.309L.38,.124L.588,.809L0,.4L-.588,.809L-.38,.124L-.951,-.309L-.235,-.324Z"  # noqa: E501
CROSS = "M-.7,-.7L.7,.7M.7,-.7L-.7,.7"
_LABEL = 320  # pixels: longer names are cut
_NARROW = 500  # pixels: panels stand below each other
_MARGIN_X, _MARGIN_Y = 75, 60  # pixels around a panel
LINE = "M-1.3,0L1.3,0"


@dataclass(frozen=True, slots=True)
class Mark:
    """A kind of mark, as the legend shows it."""

    color: str
    shape: str = "circle"


class Legend:
    """The kinds of marks in a figure: every layer colours its marks by the field `what`."""

    def __init__(self, marks: Mapping[str, Mark], *, width: int = 740) -> None:
        self.marks = dict(marks)
        self.width = width

    def chart(self, what: str | Sequence[str], **columns: Sequence[Any]) -> alt.Chart:
        """Return columns as a chart coloured by kind; `what`: of all the marks, or of each."""
        n = len(next(iter(columns.values())))
        kinds = [what] * n if isinstance(what, str) else what
        return alt.Chart(table(**columns, what=kinds)).encode(color=self._color())

    def _color(self) -> alt.Color:
        names = list(self.marks)
        scale = alt.Scale(domain=names, range=[mark.color for mark in self.marks.values()])
        # symbols drawn by the legend itself, in the shapes of the kinds
        shapes = json.dumps({name: mark.shape for name, mark in self.marks.items()})
        legend = alt.Legend(
            symbolType=alt.ExprRef(f"{shapes}[datum.label]"), symbolSize=70, columns=self._columns()
        )
        return alt.Color("what:N", scale=scale, legend=legend)

    def _columns(self) -> int:
        """Return how many entries fit beside each other; 0: all."""
        widths = [min(_LABEL, 7 * len(name)) + 50 for name in self.marks]
        return 0 if sum(widths) <= self.width else max(1, self.width // max(widths))


def table(**columns: Iterable[Any]) -> alt.InlineData:
    """Return columns as the data of a chart."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return alt.InlineData(values=rows)


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


def halo(chart: alt.Chart, theme: Theme, *, width: float, **kind: Any) -> alt.LayerChart:
    """Return a line on a wider one in the colour of the paper, to stand out from what it crosses.

    Args:
        chart: data and encodings, with colour by `what`.
        theme: the colours.
        width: of the line in pixels.
        kind: further properties of the mark.
    """
    under = chart.mark_line(strokeWidth=width + 2, strokeJoin="round", **kind)
    over = chart.mark_line(strokeWidth=width, strokeJoin="round", strokeCap="round", **kind)
    return alt.layer(under.encode(color=alt.value(theme.background)), over)


def mix(color: str, ground: str, share: float) -> str:
    """Return so much of a colour on a ground, both `#rrggbb`."""
    pairs = [(int(color[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a * share + b * (1 - share)):02x}" for a, b in pairs)


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
        return cls(
            columns,
            max(80, (width - 30) // columns - _MARGIN_X),
            max(60, (height - 90) // rows - _MARGIN_Y),
        )


def grid(charts: Sequence[ChartType], size: GridSize) -> alt.ConcatChart:
    """Return panels in a grid, with one legend."""
    sized = [chart.properties(width=size.width, height=size.height) for chart in charts]
    return alt.concat(*sized, columns=size.columns, spacing=26)


def metric_color(view: StudyView, values: Numbers, theme: Theme) -> alt.Color:
    """Return the encoding of the field `value` as a colour: the better, the more it stands out.

    Args:
        view: says which metric it is, and whether more of it is better.
        values: float64 [n]: what is coloured.
        theme: the colours.
    """
    colors = list(theme.ramp[::-1] if view.falls else theme.ramp)
    scale = alt.Scale(domain=list(drawn_range(values)), range=colors, clamp=True)
    legend = alt.Legend(
        orient="right", title=view.metric, titleLimit=110, gradientLength=140, format=".4~g"
    )
    return alt.Color("value:Q", scale=scale, legend=legend)

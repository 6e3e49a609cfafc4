"""Marks and the legend that explains them: their shapes, their colours, what stands out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.analysis.columns import Numbers
from evolvent.analysis.plots.downsample import drawn_range
from evolvent.analysis.plots.drawing import alt, table
from evolvent.analysis.plots.study_view import StudyView
from evolvent.analysis.plots.theme import Theme

STAR = "M0,-1L.235,-.324L.951,-.309L.38,.124L.588,.809L0,.4L-.588,.809L-.38,.124L-.951,-.309L-.235,-.324Z"  # noqa: E501
CROSS = "M-.7,-.7L.7,.7M.7,-.7L-.7,.7"
LINE = "M-1.3,0L1.3,0"
_LABEL = 320  # pixels: longer names are cut


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
        widths = [min(_LABEL, 7 * len(name)) + 50 for name in names]
        # how many entries fit beside each other; 0: all
        columns = 0 if sum(widths) <= self.width else max(1, self.width // max(widths))
        legend = alt.Legend(
            symbolType=alt.ExprRef(f"{shapes}[datum.label]"), symbolSize=70, columns=columns
        )
        return alt.Color("what:N", scale=scale, legend=legend)


def halo(chart: alt.Chart, theme: Theme, *, width: float, **kind: Any) -> alt.LayerChart:
    """Return a line on a wider one in the colour of the paper, to stand out from what it crosses.

    The chart is coloured by `what`, the width is in pixels; `kind` are further properties.
    """
    under = chart.mark_line(strokeWidth=width + 2, strokeJoin="round", **kind)
    over = chart.mark_line(strokeWidth=width, strokeJoin="round", strokeCap="round", **kind)
    return alt.layer(under.encode(color=alt.value(theme.background)), over)


def mix(color: str, ground: str, share: float) -> str:
    """Return so much of a colour on a ground, both `#rrggbb`."""
    pairs = [(int(color[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a * share + b * (1 - share)):02x}" for a, b in pairs)


def metric_color(view: StudyView, values: Numbers, theme: Theme) -> alt.Color:
    """Return the encoding of the field `value` as a colour: the better, the more it stands out."""
    colors = list(theme.ramp[::-1] if view.falls else theme.ramp)
    scale = alt.Scale(domain=list(drawn_range(values)), range=colors, clamp=True)
    legend = alt.Legend(
        orient="right", title=view.metric, titleLimit=110, gradientLength=140, format=".4~g"
    )
    return alt.Color("value:Q", scale=scale, legend=legend)

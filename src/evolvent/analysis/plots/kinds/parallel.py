"""Parallel coordinates: every member a line over its hyperparameters and the metric."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from evolvent.analysis.columns import Rows, evenly
from evolvent.analysis.lineage.family_tree import newest_rows, population_rows
from evolvent.analysis.log import Log
from evolvent.analysis.plots.axis import Axis, distances_from_one, rounded
from evolvent.analysis.plots.common import count, empty, finish, fitted, ids
from evolvent.analysis.plots.downsample import drawn_range
from evolvent.analysis.plots.drawing import ChartType, alt, table
from evolvent.analysis.plots.figure import Options
from evolvent.analysis.plots.marks import halo, metric_color
from evolvent.analysis.plots.study_view import StudyView
from evolvent.analysis.plots.theme import Theme

_MOST, _CROWD = 200, 60  # lines
_BESIDE = 130  # pixels that the legend takes
_EXACT_TICKS = 12
_EXACT = 17  # digits that tell any two floats apart


def draw(log: Log, options: Options) -> ChartType:
    """Return the newest finished job of every member, and the best job of all."""
    view = StudyView.of(log, options.metric)
    title = f"{view.study}: what the members train with, and what they reach"
    if view.best is None:
        return empty(options, title=title)
    axes = [*view.axes(options.hyperparameters), view.metric_axis()]
    newest = view.metric_axis().drawn(newest_rows(population_rows(log)))
    order = np.argsort(view.values[newest], kind="stable")
    rows = newest[evenly(order, _MOST)]
    pillars = [_Pillar.of(axis, np.append(rows, view.line[-1:])) for axis in axes]
    width, _ = options.size(max(760, 110 * len(axes)), 420)
    x = alt.X(
        "axis:N",
        sort=None,
        title=None,
        axis=alt.Axis(
            labelAngle=0, labelOverlap=False, labelLimit=(width - _BESIDE) // len(axes) - 4,
            labelExpr="split(datum.label, '.')",
            labelFontSize=12, labelPadding=10, grid=True, gridWidth=1.5, domain=False, ticks=False,
        ),
    )  # fmt: skip
    color, theme = metric_color(view, view.values[rows], options.theme), options.theme
    opacity, thick = (0.5, 1.1) if len(rows) > _CROWD else (0.8, 1.8)
    lines = _jobs(view, pillars, rows).mark_line(strokeOpacity=opacity, strokeWidth=thick)
    best = _jobs(view, pillars, view.line[-1:]).encode(color=alt.value(theme.strong))
    chart = alt.layer(
        lines.encode(x, color=color),
        alt.layer(halo(best, theme, width=2.8), best.mark_circle(size=50)).encode(x),
        _labels(pillars, theme).encode(x),
    )
    shown = count(len(newest), "member")
    shown = shown if len(rows) == len(newest) else f"{len(rows)} of {shown}"
    subtitle = f"{shown}, each at its newest job. Thick: the best of all jobs."
    sized = fitted(chart, options, width=width)
    return finish(sized, options, title=title, subtitle=subtitle)


@dataclass(frozen=True, slots=True, eq=False)
class _Pillar:
    """One of the upright axes, with its ends on the scale of what it shows."""

    axis: Axis
    low: float
    high: float

    @classmethod
    def of(cls, axis: Axis, rows: Rows) -> _Pillar:
        if axis.scale == "ordinal":
            return cls(axis, 0.0, float(len(axis.categories) - 1))
        places = axis.scaled[rows]
        places = places[np.isfinite(places)]
        return cls(axis, *drawn_range(places, places[-1:]))

    def height(self, scaled: float) -> float | None:
        """Return the height of a place, from 0 to 1; what lies beyond the ends stands there."""
        if not math.isfinite(scaled):
            return None
        if self.low == self.high:
            return 0.5
        # Halved, so that the distance between the ends of what a float can hold is still finite.
        share = (scaled / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return round(min(max(share, 0.0), 1.0), 4)

    def ticks(self) -> list[tuple[float | None, str]]:
        """Return heights and texts of the labels."""
        if self.axis.scale == "ordinal":
            return [(self.height(i), text) for i, text in enumerate(self.axis.categories)]
        if self.low == self.high:
            return [(0.5, _short(self._value(self.low)))]
        if self.axis.scale == "one_minus":
            far = distances_from_one(10.0**-self.high, 10.0**-self.low)
            if len(far) > 1:
                return [(self.height(-math.log10(x)), _short(1 - x, _EXACT_TICKS)) for x in far]
        marks = _round_numbers(self.low, self.high)
        if self.axis.scale == "log" and self.high - self.low < 2:  # too few powers of ten
            marks = [np.log10(x) for x in _round_numbers(10.0**self.low, 10.0**self.high)]
        heights, values = map(self.height, marks), map(self._value, marks)
        return list(zip(heights, _distinct(list(values)), strict=True))

    def _value(self, scaled: float) -> float:
        return float(self.axis.unscaled(np.array(scaled)))


def _round_numbers(low: float, high: float) -> list[float]:
    """Return some five numbers between two, with few digits; on a log scale the exponents."""
    rough = high / 6 - low / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough * 0.999)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [i * step for i in range(first, last + 1)]


def _distinct(values: list[float]) -> list[str]:
    """Return values with as few digits, four or more, as make them differ."""
    digits = 4
    while digits < _EXACT and len({f"{value:.{digits}g}" for value in values}) < len(values):
        digits += 1
    return [_short(value, digits) for value in values]


def _short(value: float, digits: int = 4) -> str:
    return f"{value:.{digits}g}".replace("e-0", "e-").replace("e+0", "e")


def _jobs(view: StudyView, pillars: list[_Pillar], rows: Rows) -> alt.Chart:
    """Return for each of some jobs what leads from pillar to pillar."""
    jobs, values = ids(view, rows), rounded(view.values[rows])
    data = table(
        axis=[p.axis.name for p in pillars for _ in rows],
        y=[p.height(x) for p in pillars for x in p.axis.scaled[rows].tolist()],
        job=jobs * len(pillars),
        value=values * len(pillars),
    )
    return alt.Chart(data).encode(
        alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[0, 1], padding=12)),
        detail="job:N",
        tooltip=["job:N", alt.Tooltip("value:Q", title=view.metric)],
    )


def _labels(pillars: list[_Pillar], theme: Theme) -> alt.LayerChart:
    found = [(p.axis.name, *tick) for p in pillars for tick in p.ticks()]
    names, heights, texts = zip(*found, strict=True)
    data = table(axis=names, y=heights, text=texts)
    text = alt.Chart(data).encode(alt.Y("y:Q"), text="text:N")
    place = {"align": "left", "dx": 6, "fontSize": 11, "limit": 90}
    under = text.mark_text(stroke=theme.background, strokeWidth=4, strokeOpacity=0.85, **place)
    return alt.layer(under, text.mark_text(color=theme.text, **place))

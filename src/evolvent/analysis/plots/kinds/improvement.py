"""What a round gained, against each hyperparameter that it was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from evolvent.analysis.columns import Numbers, Rows
from evolvent.analysis.log import Log
from evolvent.analysis.plots.axis import Axis, rounded
from evolvent.analysis.plots.common import GridSize, count, empty, finish, grid, ids
from evolvent.analysis.plots.downsample import beyond, core_range, thin_points
from evolvent.analysis.plots.drawing import ChartType, alt, table
from evolvent.analysis.plots.figure import Options
from evolvent.analysis.plots.marks import LINE, Legend, Mark, mix
from evolvent.analysis.plots.study_view import StudyView
from evolvent.analysis.plots.theme import Theme

_CELL = 6  # pixels
_JOB, _MEDIAN, _HALF = "job", "median", "middle half"
_BINS = 12
_LEAST = 15  # jobs that a median is drawn of


def draw(log: Log, options: Options) -> ChartType:
    """Return a panel for each hyperparameter: gain over the parent job, with medians of bins."""
    view = StudyView.of(log, options.metric)
    title = f"{view.study}: what one round gained"
    gains = _gains(view)
    known = np.isfinite(gains)
    if view.best is None:
        return empty(options, title=title)
    if not known.any():
        message = "No job has gone on from another yet: a gain is counted from job to job."
        return empty(options, title=title, message=message)
    axes = view.axes(options.hyperparameters)
    size, core, theme = GridSize.of(options, len(axes)), core_range(gains), options.theme
    marks = {
        _JOB: Mark(theme.rest),
        _MEDIAN: Mark(theme.strong, LINE),
        _HALF: Mark(mix(theme.strong, theme.background, 0.35), "square"),
    }
    panels = _Panels(view, gains, core, theme, Legend(marks))
    chart = grid([panels.draw(axis, size) for axis in axes], size)
    subtitle = (
        f"Gain of {view.metric} from the job it started from, up is better: "
        f"{count(int(known.sum()), 'job')}."
    )
    if core is not None:
        subtitle += f" {count(int(beyond(gains, core).sum()), 'job')} beyond the axis."
    return finish(chart, options, title=title, subtitle=subtitle)


def _gains(view: StudyView) -> Numbers:
    """Return for every row its gain on its parent, float64 [n]: above 0 is better."""
    if not len(view.log):
        return np.zeros(0)
    parent = view.log.parent
    with np.errstate(over="ignore", invalid="ignore"):
        gained = view.values - np.where(parent >= 0, view.values[parent], np.nan)
    turned = 0.0 - gained if view.falls else gained
    return np.where(np.isfinite(turned), turned, np.nan)


@dataclass(frozen=True, slots=True)
class _Panels:
    """What the panels have in common."""

    view: StudyView
    gains: Numbers
    core: tuple[float, float] | None  # the range of gains that is drawn; None: all of them
    theme: Theme
    legend: Legend

    def draw(self, axis: Axis, size: GridSize) -> alt.LayerChart:
        within = np.where(beyond(self.gains, self.core), np.nan, self.gains)
        columns, rows = size.width // _CELL, size.height // _CELL
        kept = thin_points(axis.scaled, within, columns=columns, rows=rows)
        zero = alt.Chart(table(gain=[0])).mark_rule(color=self.theme.faint, strokeDash=[4, 3])
        return alt.layer(zero.encode(self._y()), self._jobs(axis, kept), *self._trend(axis))

    def _y(self, field: str = "gain") -> alt.Y:
        shown = alt.Axis(title=f"gain of {self.view.metric}", format="~g", tickCount=6)
        ends = {} if self.core is None else {"domain": list(self.core), "clamp": True}
        return alt.Y(f"{field}:Q", axis=shown, scale=alt.Scale(nice=False, padding=8, **ends))

    def _jobs(self, axis: Axis, rows: Rows) -> alt.Chart:
        chart = self.legend.chart(
            _JOB,
            x=axis.cells(rows),
            gain=rounded(self.gains[rows]),
            job=ids(self.view, rows),
            beside=[(row * 0.618) % 1 for row in rows.tolist()],
        ).mark_circle(size=16, fillOpacity=0.55)
        tips = ["job:N", axis.tooltip("x"), alt.Tooltip("gain:Q", format=".4~g")]
        shown = chart.encode(axis.x("x"), self._y(), tooltip=tips)
        if axis.scale != "ordinal":
            return shown
        spread = alt.Scale(domain=[-0.7, 1.7])
        return shown.encode(xOffset=alt.XOffset("beside:Q", scale=spread))

    def _trend(self, axis: Axis) -> list[alt.Chart]:
        rows = np.flatnonzero(np.isfinite(self.gains) & np.isfinite(axis.scaled))
        bins = _bins(axis, rows)
        if not bins:
            return []
        quartiles = np.array([np.quantile(self.gains[part], (0.25, 0.5, 0.75)) for part in bins])
        middles = np.array([part[np.argsort(axis.places[part])[len(part) // 2]] for part in bins])
        low, median, high = (rounded(column) for column in quartiles.T)
        data = {"x": axis.cells(middles), "low": low, "gain": median, "high": high}
        tips = [axis.tooltip("x"), alt.Tooltip("gain:Q", title="median", format=".4~g")]
        half = self.legend.chart(_HALF, **data).encode(
            axis.x("x"), self._y("low"), alt.Y2("high:Q")
        )
        line = self.legend.chart(_MEDIAN, **data).encode(axis.x("x"), self._y(), tooltip=tips)
        if axis.scale == "ordinal":
            tick = line.mark_tick(thickness=3, orient="horizontal", size=26)
            return [half.mark_bar(size=26, fillOpacity=0.5), tick]
        return [half.mark_area(fillOpacity=0.45), line.mark_line(strokeWidth=2.4)]


def _bins(axis: Axis, rows: Rows) -> list[Rows]:
    """Return rows in bins of as many jobs each, by their place; by category where it has them."""
    order = rows[np.argsort(axis.places[rows], kind="stable")]
    if axis.scale == "ordinal":
        _, starts = np.unique(axis.places[order], return_index=True)
        return [part for part in np.split(order, starts[1:]) if len(part)]
    n = min(_BINS, len(order) // _LEAST)
    if n < 2:
        return []
    bins = np.array_split(order, n)
    middles = [axis.places[part[len(part) // 2]] for part in bins]
    starts = np.flatnonzero(np.diff(middles)) + 1  # bins of one and the same value are one
    return [np.concatenate(bins[a:b]) for a, b in pairwise([0, *starts, n])]

"""The schedule of the best model: its hyperparameters, round by round."""

from __future__ import annotations

import numpy as np

from evolvent.analysis.columns import Rows
from evolvent.analysis.log import Log
from evolvent.analysis.plots.axis import Axis, round_axis
from evolvent.analysis.plots.common import GridSize, best_summary, empty, finish, grid, ids
from evolvent.analysis.plots.drawing import ChartType, alt
from evolvent.analysis.plots.figure import Options
from evolvent.analysis.plots.marks import LINE, Legend, Mark
from evolvent.analysis.plots.study_view import StudyView

_VALUE, _COPY = "value in force", "weights copied to another member"
_COPIES = 80  # more lines across a panel than that hide it


def draw(log: Log, options: Options) -> ChartType:
    """Return a panel of steps for each hyperparameter along the lineage of the best model."""
    view = StudyView.of(log, options.metric)
    title = f"{view.study}: the schedule that made the best model"
    axes = view.axes(options.hyperparameters)
    if view.best is None or not axes:
        return empty(options, title=title)
    copies = np.flatnonzero(log.copied()[view.line])
    marks = {_VALUE: Mark(options.theme.strong, LINE)}
    if len(copies):
        marks[_COPY] = Mark(options.theme.rest, LINE)
    legend = Legend(marks)
    charts = [_panel(view, axis, legend, copies) for axis in axes]
    chart = grid(charts, GridSize.of(options, len(axes)))
    return finish(chart, options, title=title, subtitle=best_summary(view))


def _panel(view: StudyView, axis: Axis, legend: Legend, copies: Rows) -> alt.LayerChart:
    """Return one panel: round `r` of the lineage fills the place from `r` to `r + 1`."""
    at = np.flatnonzero(np.isfinite(axis.places[view.line]))
    rows = view.line[at]
    # a step lasts until the next begins: the last one needs an end of its own
    at, rows = np.append(at, at[-1:] + 1), np.append(rows, rows[-1:])
    x = round_axis("at:Q", title="rounds of training", domain=[0, len(view.line)])
    steps = legend.chart(_VALUE, at=at.tolist(), y=axis.cells(rows), job=ids(view, rows))
    y, tips = axis.y("y", domain=axis.ends(rows)), ["job:N", axis.tooltip("y")]
    line = steps.mark_line(interpolate="step-after", strokeWidth=2.4).encode(
        x, y, order="at:Q", tooltip=tips
    )
    if not 0 < len(copies) <= _COPIES:
        return alt.layer(line)
    donors = view.log.member[view.log.parent[view.line[copies]]].tolist()
    cuts = legend.chart(_COPY, at=copies.tolist(), donor=donors).mark_rule(strokeDash=[3, 3])
    tip = alt.Tooltip("donor:N", title="copied from")
    return alt.layer(cuts.encode(x, tooltip=[tip]), line)

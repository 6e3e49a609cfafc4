"""Every hyperparameter of all members over rounds."""

from __future__ import annotations

from evolvent.analysis.log import Log
from evolvent.analysis.plots.common import best_summary, empty, finish, grid, panel_size
from evolvent.analysis.plots.drawing import ChartType
from evolvent.analysis.plots.options import Options
from evolvent.analysis.plots.panels import Panel, Style
from evolvent.analysis.plots.study_view import StudyView


def draw(log: Log, options: Options) -> ChartType:
    """Return a panel for each hyperparameter: its values, round by round, with the copies."""
    view = StudyView.of(log, options.metric)
    title = f"{view.study}: hyperparameters of every member"
    axes = view.axes(options.hyperparameters)
    if view.best is None or not axes:
        return empty(options, title=title)
    columns, width, height = panel_size(options, len(axes))
    style = Style(
        theme=options.theme, panels=len(axes), width=width, interpolate="step", copies=True
    )
    panels = [Panel(view, axis, style) for axis in axes]
    charts = [panel.draw().properties(width=width, height=height) for panel in panels]
    subtitle = " ".join([best_summary(view), *(panel.beyond() for panel in panels)])
    return finish(grid(charts, columns=columns), options, title=title, subtitle=subtitle)

"""Every hyperparameter of all members over rounds."""

from __future__ import annotations

from evolvent.analysis.log import Log
from evolvent.analysis.plots.common import GridSize, best_summary, empty, finish, grid
from evolvent.analysis.plots.drawing import ChartType
from evolvent.analysis.plots.figure import Options
from evolvent.analysis.plots.panels import Panel, Style
from evolvent.analysis.plots.study_view import StudyView


def draw(log: Log, options: Options) -> ChartType:
    """Return a panel for each hyperparameter: its values, round by round, with the copies."""
    view = StudyView.of(log, options.metric)
    title = f"{view.study}: hyperparameters of every member"
    axes = view.axes(options.hyperparameters)
    if view.best is None or not axes:
        return empty(options, title=title)
    size = GridSize.of(options, len(axes))
    style = Style(
        theme=options.theme, panels=len(axes), width=size.width, interpolate="step", copies=True
    )
    panels = [Panel(view, axis, style) for axis in axes]
    chart = grid([panel.draw() for panel in panels], size)
    subtitle = " ".join([best_summary(view), *(panel.beyond() for panel in panels)])
    return finish(chart, options, title=title, subtitle=subtitle)

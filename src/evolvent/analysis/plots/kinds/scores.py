"""Scores of all members over rounds; a second study stands beside the first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evolvent.analysis.log import Log
from evolvent.analysis.plots.common import beside, best_summary, empty, finish, fitted, heading
from evolvent.analysis.plots.downsample import drawn_range
from evolvent.analysis.plots.drawing import ChartType, alt
from evolvent.analysis.plots.figure import Options
from evolvent.analysis.plots.panels import Panel, Style
from evolvent.analysis.plots.study_view import StudyView


def draw(logs: Sequence[Log], options: Options) -> ChartType:
    """Return the metric of every member, round by round, the lineage of the best emphasised."""
    views = [StudyView.of(log, options.metric) for log in logs]
    title = f"{beside(views)}: {views[0].metric} of every member"
    if all(view.best is None for view in views):
        return empty(options, title=title)
    if len(views) > 1:
        return _pair(views, options, title)
    [view], (width, _) = views, options.size(760, 420)
    panel = Panel(view, view.metric_axis(), Style(theme=options.theme, width=width))
    subtitle = f"{best_summary(view)} {panel.beyond()}"
    return finish(fitted(panel.draw(), options), options, title=title, subtitle=subtitle)


def _pair(views: Sequence[StudyView], options: Options, title: str) -> ChartType:
    """Return a panel for each study, on the same scale."""
    width, height = options.size(860, 400)
    width, height = max(100, width // len(views) - 85), max(80, height - 170)
    lines = np.concatenate([view.values[view.line] for view in views])
    ends = drawn_range(np.concatenate([view.values for view in views]), lines)
    style = Style(theme=options.theme, width=width, panels=len(views))
    charts = []
    for view in views:
        panel = Panel(view, view.metric_axis(), style, ends=ends)
        sized = panel.draw().properties(width=width, height=height)
        subtitle = f"{best_summary(view)} {panel.beyond()}"
        charts.append(sized.properties(title=heading(view.study, width, subtitle)))
    chart = alt.hconcat(*charts, spacing=30).resolve_scale(color="independent")
    return finish(chart, options, title=title)

"""How much variety is left: founders, ancestors, and the spread of each hyperparameter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from evolvent.analysis.columns import Column, Rows, evenly
from evolvent.analysis.lineage.diversity import Diversity
from evolvent.analysis.lineage.family_tree import FamilyTree
from evolvent.analysis.log import Log
from evolvent.analysis.plots.axis import round_axis, rounded
from evolvent.analysis.plots.common import count, empty, finish
from evolvent.analysis.plots.drawing import ChartType, alt
from evolvent.analysis.plots.figure import Options
from evolvent.analysis.plots.marks import LINE, Legend, Mark
from evolvent.analysis.plots.study_view import StudyView
from evolvent.analysis.plots.theme import Theme

_POINTS = 300
_OTHERS = "others"


def draw(log: Log, options: Options) -> ChartType:
    """Return two panels over rounds: who is left, and how spread the values are."""
    view = StudyView.of(log, options.metric)
    title = f"{view.study}: how much variety is left"
    if view.best is None:
        return empty(options, title=title)
    tree = FamilyTree.of(log)
    found = Diversity.of(log, tree)
    populated = np.flatnonzero(found.populated)
    if not len(populated):
        message = "Variety is between members: there is only one."
        return empty(options, title=title, message=message)
    shown = evenly(populated, _POINTS)
    chosen = [axis.name for axis in view.axes(options.hyperparameters)]
    spread = {name: found.spread[name][shown] for name in chosen if name in found.spread}
    left = {"founders": found.founders[shown], "ancestors of the last": found.ancestors[shown]}
    width, height = options.size(860, 420)
    size = {"width": max(100, width // 2 - 85), "height": max(80, height - 190)}
    chart = alt.hconcat(
        _panel(shown, left, options.theme, title="jobs").properties(**size),
        _panel(shown, spread, options.theme, title="spread, of the space").properties(**size),
        spacing=30,
    ).resolve_scale(color="independent")
    last = int(populated[-1])
    subtitle = found.warning or (
        f"As of round {last}, {count(int(found.founders[last]), 'founder')} left of "
        f"{tree.n_founders}."
    )
    return finish(chart, options, title=title, subtitle=subtitle)


def _panel(shown: Rows, series: Mapping[str, Column], theme: Theme, *, title: str) -> alt.Chart:
    """Return a line for each series; beyond the palette they share a colour."""
    own = dict(zip(series, theme.palette, strict=False))
    marks = {name: Mark(color, LINE) for name, color in own.items()}
    if len(series) > len(own):
        marks[_OTHERS] = Mark(theme.rest, LINE)
    lines = Legend(marks, width=340).chart(
        [name if name in own else _OTHERS for name in series for _ in shown],
        round=shown.tolist() * len(series),
        y=[y for values in series.values() for y in rounded(values.astype(np.float64))],
        name=[name for name in series for _ in shown],
    )
    return lines.mark_line(strokeWidth=2.2).encode(
        round_axis(),
        alt.Y("y:Q", axis=alt.Axis(title=title), scale=alt.Scale(domainMin=0)),
        detail="name:N",
        tooltip=["name:N", "round:Q", alt.Tooltip("y:Q", title=title)],
    )

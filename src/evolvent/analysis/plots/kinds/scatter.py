"""Two hyperparameters of every job; a second study, such as random search, stands beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evolvent.analysis.columns import Rows
from evolvent.analysis.log import Log
from evolvent.analysis.plots import downsample
from evolvent.analysis.plots.axis import Axis, rounded
from evolvent.analysis.plots.common import beside, empty, finish, heading, ids
from evolvent.analysis.plots.drawing import ChartType, alt, table
from evolvent.analysis.plots.figure import Options
from evolvent.analysis.plots.marks import CROSS, STAR, metric_color
from evolvent.analysis.plots.study_view import StudyView
from evolvent.analysis.plots.theme import Theme
from evolvent.errors import ConfigError

_CELL = 7  # pixels: nearer points lie on each other
_CROWD = 600  # jobs


def draw(logs: Sequence[Log], options: Options) -> ChartType:
    """Return a panel for each study, on the same scales."""
    views = [StudyView.of(log, options.metric) for log in logs]
    if all(view.best is None for view in views):
        title = f"{beside(views)}: two hyperparameters of every job"
        return empty(options, title=title)
    pairs = [_pair(view, options.hyperparameters) for view in views]
    width, height = options.size(760, 460)
    width, height = max(120, (width - 120) // len(views) - 75), max(100, height - 140)
    shared = {
        "color": metric_color(views[0], np.concatenate([v.values for v in views]), options.theme),
        "size": _size(views, options.theme),
        "x": _domain([x for x, _ in pairs]),
        "y": _domain([y for _, y in pairs]),
    }
    panels = [
        _panel(view, x, y, shared, options.theme, (width, height))
        for view, (x, y) in zip(views, pairs, strict=True)
    ]
    x, y = pairs[0]
    title = f"{beside(views)}: {x.name} and {y.name} of every job"
    found = [f"{view.study} {view.best_value or 'has none yet'}" for view in views]
    subtitle = f"The star is the best job: {'; '.join(found)}."
    return finish(alt.hconcat(*panels, spacing=24), options, title=title, subtitle=subtitle)


def _pair(view: StudyView, names: Sequence[str]) -> tuple[Axis, Axis]:
    """Return two axes; where only one hyperparameter varies, the second is the metric."""
    if len(names) > 2:
        raise ConfigError(f"hyperparameters: got {', '.join(names)}, wanted two for a scatter")
    chosen = view.axes(names)
    others = [axis for axis in view.axes() if axis.name not in {a.name for a in chosen}]
    first, second = [*chosen, *others, view.metric_axis()][:2]
    return first, second


def _domain(axes: Sequence[Axis]) -> list[float] | None:
    """Return the ends that hold the places of all panels; None where the axis has its own."""
    ends = [end for axis in axes for end in axis.ends(np.arange(len(axis.places))) or ()]
    return [min(ends), max(ends)] if ends else None


def _size(views: Sequence[StudyView], theme: Theme) -> alt.Size:
    last = max(view.rounds for view in views) - 1
    largest = 160 if max(len(view.log) for view in views) < _CROWD else 70
    scale = alt.Scale(domain=[0, max(1, last)], range=[largest / 10, largest])
    legend = alt.Legend(
        orient="right", title="round", format="d", values=sorted({0, last // 2, last}),
        symbolFillColor=theme.rest, symbolStrokeWidth=0,
    )  # fmt: skip
    return alt.Size("round:Q", scale=scale, legend=legend)


def _panel(
    view: StudyView, x: Axis, y: Axis, shared: dict[str, Any], theme: Theme, size: tuple[int, int]
) -> alt.LayerChart:
    """Return one study, in the colours and on the scales that all share."""

    def chart(shown: Rows) -> alt.Chart:
        data = table(
            x=x.cells(shown),
            y=y.cells(shown),
            value=rounded(view.values[shown]),
            round=view.log.round[shown].tolist(),
            job=ids(view, shown),
        )
        value = alt.Tooltip("value:Q", title=view.metric)
        tips = ["job:N", value, x.tooltip("x"), y.tooltip("y")]
        places = x.x("x", domain=shared["x"]), y.y("y", domain=shared["y"])
        return alt.Chart(data).encode(*places, tooltip=tips)

    width, height = size
    columns, rows = width // _CELL, height // _CELL
    kept = downsample.thin_points(x.scaled, y.scaled, columns=columns, rows=rows)
    failed = view.log.failed[kept]
    done = kept[~failed]
    done = done[np.argsort(-view.log.round[done], kind="stable")]  # small ones on top
    return alt.layer(
        chart(done).encode(shared["color"], shared["size"]).mark_circle(
            fillOpacity=0.85, stroke=theme.background, strokeWidth=0.5
        ),
        chart(kept[failed]).mark_point(shape=CROSS, size=40, color=theme.failed, strokeWidth=1.6),
        chart(view.line[-1:]).mark_point(
            shape=STAR, size=420, filled=True, color=theme.strong, stroke=theme.background,
            strokeWidth=1.5,
        ),
    ).properties(width=width, height=height, title=heading(view.study, width))  # fmt: skip

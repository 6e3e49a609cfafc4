"""The figure of the zoo: the share of every arm, a panel for each mode; needs `evolvent[plot]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from statistics import mean
from typing import Any

import altair as alt

from _zoo_report import Row
from evolvent.analysis.plots.common import finish
from evolvent.analysis.plots.drawing import table
from evolvent.analysis.plots.figure import Options
from evolvent.analysis.plots.marks import Legend, Mark
from evolvent.analysis.plots.save import save
from evolvent.analysis.plots.theme import Theme

COLUMNS = 4
ARM = 22  # pixels: the height of a row
LOWEST = -0.5  # of the shares that are drawn in their places
SHAPES = ("circle", "diamond", "square")  # of families: each colour comes with all of them
MEAN = "mean over families"
BAR = "M-.25,-1L.25,-1L.25,1L-.25,1Z"


def draw(made: Mapping[str, Sequence[Row]], file: str, *, dark: bool) -> None:
    """Draw the rows of each mode; arms stand in the order of their mean share over modes."""
    options = Options(dark=dark, width=1100 if len(made) > 2 else 800)
    shares: dict[str, list[float]] = {}
    families: dict[str, None] = {}
    for row in chain(*made.values()):
        shares.setdefault(row.arm, []).append(row.share)
        families.update(dict.fromkeys(row.families))
    order = sorted(shares, key=lambda arm: -mean(shares[arm]))
    colors = options.theme.palette
    legend = Legend(
        {
            family: Mark(colors[i % len(colors)], SHAPES[i // len(colors)])
            for i, family in enumerate(families)
        }
        | {MEAN: Mark(options.theme.strong, BAR)},
        width=options.width or 0,
    )
    panels = [
        _panel(rows, order, legend, theme=options.theme, named=i % COLUMNS == 0).properties(
            title=alt.TitleParams(mode_in_words(mode), fontSize=13, anchor="middle", offset=8),
            width=880 // min(len(made), COLUMNS) if len(made) > 2 else 600 // len(made),
            height=ARM * len(order),
        )
        for i, (mode, rows) in enumerate(made.items())
    ]
    figure = finish(
        alt.concat(*panels, columns=COLUMNS, spacing=24),
        options,
        title="The way from random search (0) to the best arm of a cell (1)",
        subtitle="A dot is the mean over the cells of a family of tasks, the bar that over "
        f"families. Shares below {LOWEST:g} are drawn there. N is the number of members.",
    )
    save(figure, file)


def mode_in_words(mode: str) -> str:
    turns, *asked = mode.split("@")
    count, _, spread = turns.partition("x")
    if count == "sync":
        return ", ".join(["synchronous", *asked])
    speeds = [f"speeds 1 to {spread}"] if spread else []
    return ", ".join([f"{count} worker{'s' * (count != '1')}", *speeds, *asked])


def _panel(
    rows: Sequence[Row], order: Sequence[str], legend: Legend, *, theme: Theme, named: bool
) -> alt.LayerChart:
    y = alt.Y(
        "arm:N",
        sort=list(order),
        title=None,
        axis=alt.Axis(labels=named, ticks=False, domain=False, grid=True, labelPadding=8),
    )
    scale = alt.Scale(domain=[LOWEST, 1.0], nice=False, padding=6)
    x = alt.X("share:Q", scale=scale, title="share", axis=alt.Axis(values=[-0.5, 0, 0.5, 1]))
    layers = []
    for shape in SHAPES:
        found = [
            (row.arm, name, share)
            for row in rows
            for name, share in row.families.items()
            if legend.marks[name].shape == shape
        ]
        if found:
            dots = _chart(legend, found).mark_point(shape=shape, filled=True, size=46)
            layers.append(dots.encode(x, y, opacity=alt.value(0.85)))
    bars = _chart(legend, [(row.arm, MEAN, row.share) for row in rows])
    bars = bars.mark_tick(thickness=3.5, size=ARM - 6).encode(x, y)
    zero = alt.Chart(table(share=[0.0])).mark_rule(color=theme.rest).encode(x)
    return alt.layer(zero, *layers, bars)


def _chart(legend: Legend, values: Sequence[tuple[str, str, float]]) -> Any:
    arms, what, shares = zip(*values, strict=True)
    places = [max(share, LOWEST) for share in shares]
    chart = legend.chart(what, arm=arms, share=places, exactly=shares)
    return chart.encode(tooltip=["arm:N", "what:N", alt.Tooltip("exactly:Q", format=".3f")])

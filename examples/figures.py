"""The pictures of the examples; needs `pip install 'evolvent[plot]'`.

Not an example itself: `toy.py --figure FILE` and `population_size.py --figure FILE` call it.
The ending of the file says what it becomes: .png, .svg, .pdf, .html or .json.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import altair as alt

from evolvent.analysis.plots.common import finish, table
from evolvent.analysis.plots.figure import Options
from evolvent.analysis.plots.save import save
from evolvent.analysis.plots.theme import Theme

Run = Sequence[Sequence[Mapping[str, float]]]
"""For every member what it reported, round by round: Q, theta0, theta1, perhaps loss."""

RINGS = (0.2, 0.39, 0.6, 0.8, 1.0, 1.15)
LOSS = (-1.25, 0.0, [-1.2, -0.8, -0.4, 0])
START = {"Q": 1.2 - 2 * 0.9**2, "theta0": 0.9, "theta1": 0.9}
SIDE = 165


def draw_modes(runs: Mapping[str, Run], file: str, *, interval: int, dark: bool = False) -> None:
    """Figure 2: for every mode, where theta goes (above) and what Q comes to (below)."""
    options = Options(dark=dark, width=960)
    columns = [
        alt.vconcat(
            theta_panel(run, options.theme, title=mode),
            over_steps(run, "Q", options.theme, interval=interval),
            spacing=18,
        )
        for mode, run in runs.items()
    ]
    figure = finish(
        alt.hconcat(*columns, spacing=26),
        options,
        title="Two members, four ways to climb a hill",
        subtitle="Above: the weights, from (0.9, 0.9); the top of the hill is (0, 0), rings are "
        "equal Q. Below: Q of both members; the dashed line is the top. A dot is a round.",
    )
    save(figure, file)


def draw_sizes(runs: Mapping[str, Run], file: str, *, interval: int, dark: bool = False) -> None:
    """A column for every size of population: Q, the loss that training sees, and theta."""
    options = Options(dark=dark, width=1200)
    columns = [
        alt.vconcat(
            over_steps(run, "Q", options.theme, interval=interval, title=size),
            over_steps(run, "loss", options.theme, interval=interval),
            theta_panel(run, options.theme),
            spacing=18,
        )
        for size, run in runs.items()
    ]
    figure = finish(
        alt.hconcat(*columns, spacing=26),
        options,
        title="How many members does it take?",
        subtitle="Q of every member, the loss that training sees, and where theta goes; the member "
        "that ends best stands out. A dot is a round.",
    )
    save(figure, file)


def theta_panel(run: Run, theme: Theme, *, title: str = "") -> alt.LayerChart:
    """Return the plane of the weights with rings of equal Q."""
    plane = alt.Scale(domain=[0, 1], nice=False, clamp=True)
    x = alt.X("theta0:Q", scale=plane, title="θ0", axis=alt.Axis(tickCount=2, grid=False))
    y = alt.Y("theta1:Q", scale=plane, title="θ1", axis=alt.Axis(tickCount=2, grid=False))
    angles = [math.pi / 2 * i / 40 for i in range(41)]
    data = table(
        q=[q for q in RINGS for _ in angles],
        theta0=[math.sqrt(1.2 - q) * math.cos(angle) for q in RINGS for angle in angles],
        theta1=[math.sqrt(1.2 - q) * math.sin(angle) for q in RINGS for angle in angles],
    )
    rings = alt.Chart(data).mark_line(strokeWidth=1.2, color=theme.grid).encode(x, y, detail="q:N")
    return panel([rings.encode(order="theta0:Q"), *paths(run, theme, x, y)], title)


def over_steps(
    run: Run, name: str, theme: Theme, *, interval: int, title: str = ""
) -> alt.LayerChart:
    """Return what every member reported, against gradient steps."""
    end = interval * max(map(len, run))
    steps = alt.Scale(domain=[0, end], nice=False)
    x = alt.X("step:Q", title="gradient steps", scale=steps, axis=alt.Axis(tickCount=3))
    low, high, ticks = (-0.5, 1.25, [0, 0.4, 0.8, 1.2]) if name == "Q" else LOSS
    values = alt.Scale(domain=[low, high], nice=False, clamp=True)
    y = alt.Y(f"{name}:Q", scale=values, axis=alt.Axis(values=ticks))
    layers = paths(run, theme, x, y, interval=interval)
    if name == "Q":
        top = alt.Chart(table(Q=[1.2])).mark_rule(strokeDash=[4, 4], color=theme.faint)
        layers.insert(0, top.encode(y))
    return panel(layers, title)


def paths(run: Run, theme: Theme, x: alt.X, y: alt.Y, *, interval: int = 1) -> list[alt.Chart]:
    """Return a thin line with a dot a round for every member; the one that ends best stands out."""
    best = max(range(len(run)), key=lambda member: run[member][-1]["Q"])
    rest = theme.palette[0] if len(run) == 2 else theme.rest
    rows = [
        {**values, "step": interval * i, "member": member}
        for member, history in enumerate(run)
        for i, values in enumerate([START, *history])
    ]
    rows.sort(key=lambda row: row["member"] == best)  # drawn last
    chart = alt.Chart(alt.InlineData(values=rows)).encode(
        x,
        y,
        order="step:Q",
        detail="member:N",
        tooltip=["member:N", "step:Q", "Q:Q", "theta0:Q", "theta1:Q"],
        color=alt.condition(f"datum.member === {best}", alt.value(theme.strong), alt.value(rest)),
    )
    size = 14 if len(run) <= 4 else 7
    return [chart.mark_line(strokeWidth=1, strokeOpacity=0.4), chart.mark_circle(size=size)]


def panel(layers: Sequence[alt.Chart], title: str) -> alt.LayerChart:
    text = alt.TitleParams(title, fontSize=13, anchor="middle", offset=8)
    return alt.layer(*layers).properties(width=SIDE, height=SIDE, title=text if title else "")

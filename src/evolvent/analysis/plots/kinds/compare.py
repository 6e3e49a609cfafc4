"""Several studies at equal compute: the best so far, with bands over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evolvent.analysis.comparison.compare import Curve, curves
from evolvent.analysis.log import Log
from evolvent.analysis.plots.axis import NUMBERS, rounded
from evolvent.analysis.plots.common import count, empty, finish, fitted
from evolvent.analysis.plots.drawing import ChartType, alt
from evolvent.analysis.plots.figure import Options
from evolvent.analysis.plots.marks import LINE, Legend, Mark
from evolvent.analysis.plots.theme import Theme
from evolvent.errors import ConfigError

_POINTS = 300
_NAMED_ARMS = 4  # arms whose value the subtitle gives


def draw(arms: Mapping[str, Sequence[Log]], options: Options) -> ChartType:
    """Return the best value so far of every arm, against the jobs that each study has trained."""
    record = next(iter(arms.values()))[0].status.record
    if options.metric not in (None, record.metric):
        raise ConfigError(
            f"metric: got {options.metric!r}, but studies are compared by what they were run for, "
            f"{record.metric!r}"
        )
    title = f"Best {record.metric} so far, at equal compute"
    done = {name: [log for log in logs if (~log.failed).any()] for name, logs in arms.items()}
    begun = {name: logs for name, logs in done.items() if logs}
    if not begun:
        return empty(options, title=title)
    found = {_name(curve): curve for curve in curves(begun, points=_POINTS)}
    legend = _legend(list(found), options.theme)
    bands = [_band(name, curve, legend) for name, curve in found.items() if curve.n > 1]
    lines = [_line(name, curve, legend) for name, curve in found.items()]
    chart = fitted(alt.layer(*bands, *lines), options)
    subtitle = _subtitle(list(found.values()), [name for name in arms if name not in begun])
    return finish(chart, options, title=title, subtitle=subtitle)


def _name(curve: Curve) -> str:
    return curve.arm if curve.n == 1 else f"{curve.arm} ({count(curve.n, 'seed')})"


def _subtitle(found: Sequence[Curve], missing: Sequence[str]) -> str:
    """Return the sentences below the title: where the arms end, what is not drawn."""
    ends = [f"{c.arm} {c.mean[-1]:.6g}" for c in found if len(c.jobs)][:_NAMED_ARMS]
    more = " and others" if len(found) > _NAMED_ARMS else ""
    subtitle = f"At the end: {', '.join(ends)}{more}."
    if any(c.n > 1 for c in found):
        subtitle += " Means over seeds; bands from their 5 % to their 95 % quantile."
    if missing:
        subtitle += f" No job has finished yet in {', '.join(missing)}."
    return subtitle


def _legend(names: Sequence[str], theme: Theme) -> Legend:
    """Return the colours of the arms; beyond the palette all share the last one."""
    colors = [theme.strong, *theme.palette]
    return Legend(
        {name: Mark(colors[min(i, len(colors) - 1)], LINE) for i, name in enumerate(names)}
    )


def _encoded(legend: Legend, name: str, y: str, **columns: Any) -> alt.Chart:
    numbers = alt.Axis(title="best so far", labelExpr=NUMBERS)
    return legend.chart(name, **columns).encode(
        alt.X(
            "jobs:Q",
            title="jobs finished by each study",
            axis=alt.Axis(tickMinStep=1, format="~s", labelFlush=False),
            scale=alt.Scale(nice=False, zero=False),
        ),
        alt.Y(f"{y}:Q", axis=numbers, scale=alt.Scale(zero=False, nice=False, padding=8)),
    )


def _band(name: str, curve: Curve, legend: Legend) -> alt.Chart:
    low, high = rounded(curve.low), rounded(curve.high)
    chart = _encoded(legend, name, "low", jobs=curve.jobs.tolist(), low=low, high=high)
    return chart.mark_area(fillOpacity=0.22, interpolate="step-after").encode(alt.Y2("high:Q"))


def _line(name: str, curve: Curve, legend: Legend) -> alt.Chart:
    chart = _encoded(legend, name, "mean", jobs=curve.jobs.tolist(), mean=rounded(curve.mean))
    tips = [alt.Tooltip("what:N", title="study"), "jobs:Q", alt.Tooltip("mean:Q", title="best")]
    return chart.mark_line(strokeWidth=2.2, interpolate="step-after").encode(tooltip=tips)

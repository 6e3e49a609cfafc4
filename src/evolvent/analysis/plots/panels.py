"""One panel: a value of every member over rounds, the lineage of the best emphasised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from evolvent.analysis.columns import Rows, evenly
from evolvent.analysis.plots import downsample
from evolvent.analysis.plots.axis import Axis, round_axis, rounded
from evolvent.analysis.plots.common import count, ids
from evolvent.analysis.plots.drawing import alt
from evolvent.analysis.plots.marks import CROSS, LINE, STAR, Legend, Mark, halo, mix
from evolvent.analysis.plots.study_view import StudyView, legs
from evolvent.analysis.plots.theme import Theme

_DOTTED = 700  # jobs a figure may have for each to get a dot with a tooltip
_MARKED, _MARKED_ON_BANDS = 400, 60  # copies or failures in a panel, at most
_LINEAGE, _COPY = "lineage of the best", "copy of another member"
_FAILED = {"shape": CROSS, "size": 36, "strokeWidth": 1.6, "filled": False}
_HALF, _MOST = "middle half of all", "middle 90 %"


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How the panels of a figure are drawn."""

    theme: Theme
    panels: int = 1  # in the figure
    width: int = 700  # of a panel in pixels
    interpolate: Literal["linear", "step"] = "linear"  # from round to round
    copies: bool = False  # mark the jobs that started from one


class Panel:
    """A value of every member over rounds; where panels share its axis, `ends` are those of all."""

    def __init__(
        self, view: StudyView, axis: Axis, style: Style, *, ends: tuple[float, float] | None = None
    ) -> None:
        self.view, self.axis, self.style = view, axis, style
        self.lines = downsample.lines(
            view.log.rows, axis.scaled, panels=style.panels, columns=style.width
        )
        # What is left out is settled before anything is drawn: the legend says how many are shown.
        failed = np.flatnonzero(view.log.failed)
        self.failed = evenly(failed, self._most_marks)
        self.core = ends
        if ends is None and axis.scale == "linear":
            self.core = downsample.core_range(axis.places, axis.places[view.line])
        self.legend = self._legend()

    def draw(self) -> alt.LayerChart:
        """Return the panel."""
        return alt.layer(
            *self._bands(), self._members(), *self._jobs(), *self._failures(), *self._lineage()
        )

    def beyond(self) -> str:
        """Return the sentence about the values that the axis does not reach."""
        n = int(downsample.beyond(self.axis.places, self.core).sum())
        return f"{count(n, 'value')} of {self.axis.name} beyond the axis." if n else ""

    @property
    def _most_marks(self) -> int:
        return _MARKED if self.lines.bands is None else _MARKED_ON_BANDS

    @property
    def _failure_label(self) -> str:
        n, shown = int(self.view.log.failed.sum()), len(self.failed)
        return "failed job" if n == shown else f"{shown} of {count(n, 'failed job')}"

    @property
    def _others_label(self) -> str:
        n = len(self.lines.series)
        whole = count(self.lines.members, "member")
        return whole if n == self.lines.members else f"{n} of {whole}"

    def _legend(self) -> Legend:
        theme, log = self.style.theme, self.view.log
        marks = {_LINEAGE: Mark(theme.strong, LINE)} if len(self.view.line) else {}
        marks[self._others_label] = Mark(theme.rest, LINE)
        if self.lines.bands is not None:
            marks[_HALF] = Mark(mix(theme.rest, theme.background, 0.5), "square")
            marks[_MOST] = Mark(mix(theme.rest, theme.background, 0.25), "square")
        if self.style.copies and log.copied().any():
            marks[_COPY] = Mark(theme.palette[0])
        if len(self.failed):
            marks[self._failure_label] = Mark(theme.failed, CROSS)
        return Legend(marks)

    def _y(self, field: str = "y") -> alt.Y:
        return self.axis.y(field, domain=self.core)

    def _mark(self, what: str, **columns: Any) -> alt.Chart:
        return self.legend.chart(what, **columns).encode(round_axis(padding=8))

    def _of_rows(self, rows: Rows, what: str, **columns: Any) -> alt.Chart:
        rounds, cells = self.view.log.round[rows].tolist(), self.axis.cells(rows)
        return self._mark(what, round=rounds, y=cells, **columns).encode(self._y())

    def _with_tooltip(self, rows: Rows, what: str) -> alt.Chart:
        columns: dict[str, Any] = {"job": ids(self.view, rows)}
        tips = ["job:N", self.axis.tooltip("y")]
        if self.axis.name != self.view.metric:
            columns["value"] = rounded(self.view.values[rows])
            tips.append(alt.Tooltip("value:Q", title=self.view.metric))
        return self._of_rows(rows, what, **columns).encode(tooltip=tips)

    def _bands(self) -> list[alt.Chart]:
        bands = self.lines.bands
        if bands is None or self.axis.scale == "ordinal":
            return []
        at = rounded(bands.round)
        levels = self.axis.charted(self.axis.unscaled(bands.levels))
        return [
            self._mark(what, round=at, y=rounded(levels[:, low]), y2=rounded(levels[:, high]))
            .mark_area()
            .encode(self._y(), y2="y2:Q")
            for what, low, high in ((_MOST, 0, 4), (_HALF, 1, 3))
        ]

    def _members(self) -> alt.Chart:
        parts = [self.axis.drawn(line) for line in self.lines.series]
        rows = np.concatenate([*parts, np.zeros(0, np.int64)])
        few = len(parts) <= 16
        return (
            self._of_rows(rows, self._others_label, member=self.view.log.member[rows].tolist())
            .mark_line(
                strokeWidth=1.3 if few else 0.9,
                strokeOpacity=0.75 if few else 0.45,
                interpolate=self.style.interpolate,
            )
            .encode(detail="member:N", tooltip="member:N", order="round:Q")
        )

    def _jobs(self) -> list[alt.Chart]:
        log, series = self.view.log, self.lines.series
        rows = np.concatenate([*series, np.zeros(0, np.int64)])
        rows = self.axis.drawn(rows[~log.failed[rows]])
        layers = []
        if len(rows) * self.style.panels <= _DOTTED:
            layers.append(self._with_tooltip(rows, self._others_label).mark_circle(size=14))
        if _COPY in self.legend.marks:
            dots = self._seen(rows[log.copied()[rows]])
            size = 22 if len(dots) < 60 else 10
            layers.append(self._with_tooltip(dots, _COPY).mark_circle(size=size))
        return layers

    def _failures(self) -> list[alt.Chart]:
        rows = self.failed
        if not len(rows):
            return []
        if self.axis.name != self.view.metric:
            marks = self._with_tooltip(self.axis.drawn(rows), self._failure_label)
            return [marks.mark_point(**_FAILED)]
        rounds = self.view.log.round[rows].tolist()
        marks = self._mark(self._failure_label, round=rounds, job=ids(self.view, rows))
        # a failed job has no score: it is marked at the foot of its round
        foot = marks.encode(tooltip=["job:N"], y=alt.value("height"))
        return [foot.mark_point(**_FAILED)]

    def _lineage(self) -> list[alt.Chart | alt.LayerChart]:
        line = self.axis.drawn(self.view.line)
        if not len(line):
            return []
        thin = downsample.thin_line(line, self.axis.scaled, columns=self.style.width // 4)
        parts = legs(self.view.log.round[thin])
        path = self._of_rows(thin, _LINEAGE, part=parts.tolist()).encode(
            detail="part:N", order="round:Q"
        )
        layers: list[alt.Chart | alt.LayerChart] = [
            *self._jumps(thin, parts),
            halo(path, self.style.theme, width=2.4, interpolate=self.style.interpolate),
        ]
        if len(line) <= 60:
            layers.append(self._with_tooltip(line[:-1], _LINEAGE).mark_circle(size=24))
        star = self._with_tooltip(line[-1:], _LINEAGE).mark_point(
            shape=STAR, size=300, filled=True, stroke=self.style.theme.background
        )
        return [*layers, star]

    def _jumps(self, line: Rows, parts: Rows) -> list[alt.Chart]:
        """Draw copies by a member of an earlier round as what they are: no training, a jump."""
        ends = np.flatnonzero(np.diff(parts))
        rows = np.column_stack([line[ends], line[ends + 1]]).ravel()
        if not len(rows):
            return []
        jump = np.repeat(np.arange(len(ends)), 2).tolist()
        links = self._of_rows(rows, _LINEAGE, jump=jump)
        return [links.mark_line(strokeWidth=1.2, strokeDash=[2, 3]).encode(detail="jump:N")]

    def _seen(self, rows: Rows) -> Rows:
        """Return those of the rows that are seen, and not too many of them."""
        x, y = self.view.log.round[rows].astype(np.float64), self.axis.scaled[rows]
        kept: Rows = rows[downsample.thin_points(x, y, columns=self.style.width // 4, rows=60)]
        return evenly(kept, self._most_marks)

"""The family tree: who copied whom, coloured by founder.

Every member is a line through its rounds, in the colour of the founder whose weights it carries; a
copy leaves the line of the donor and ends in that of the copier. What has no living descendants is
pale. Where that would be more marks than can be seen, the shares of the
founders in the population are drawn instead, round by round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evolvent.analysis.lineage.family_tree import FamilyTree
from evolvent.analysis.log import Log
from evolvent.analysis.plots.common import (
    STAR,
    Rows,
    best_summary,
    empty,
    finish,
    fitted,
    halo,
    ids,
    table,
)
from evolvent.analysis.plots.drawing import ChartType, alt
from evolvent.analysis.plots.founders import LINEAGE, Families
from evolvent.analysis.plots.kinds.shares import shares
from evolvent.analysis.plots.options import Options
from evolvent.analysis.plots.study_view import StudyView, legs, newest
from evolvent.analysis.plots.theme import Theme

_MEMBERS, _MARKS = 80, 2_500
_ROW = 11  # pixels a member, at least


def draw(log: Log, options: Options) -> ChartType:
    """Return the tree; of a large population the shares of the founders."""
    view = StudyView.of(log, options.metric)
    title = f"{view.study}: who copied whom"
    if view.best is None:
        return empty(options, title=title, message="No job has finished yet.")
    tree = FamilyTree.of(log)
    families = Families.of(tree, options.theme)
    subtitle = f"{families.summary()} {best_summary(view)}"
    marks = log.rows.shape[0] + 2 * int(tree.copied.sum())
    if view.members <= _MEMBERS and marks <= _MARKS:
        _, height = options.size(760, max(340, 160 + _ROW * view.members))
        chart = _Tree(view, tree, families, options.theme).draw()
        return finish(
            fitted(chart, options, height=height), options, title=title, subtitle=subtitle
        )
    title = f"{view.study}: whose descendants make up the population"
    chart = shares(view, tree, families, options.theme)
    return finish(fitted(chart, options), options, title=title, subtitle=subtitle)


@dataclass(frozen=True, slots=True)
class _Tree:
    """The drawn tree; members are rows from top to bottom."""

    view: StudyView
    tree: FamilyTree
    families: Families
    theme: Theme

    def draw(self) -> alt.LayerChart:
        alive = _living(self.view.log)
        return alt.layer(
            self._edges(alive, copies=False),
            self._edges(alive, copies=True),
            self._founders(),
            self._lineage(),
            self._star(),
        )

    def _x(self, field: str) -> alt.X:
        return alt.X(
            field,
            title="round",
            axis=alt.Axis(tickMinStep=1, format="d", grid=False),
            scale=alt.Scale(nice=False, padding=10),
        )

    def _y(self, field: str) -> alt.Y:
        members = np.unique(self.view.log.member).tolist()
        return alt.Y(
            field,
            title="member",
            scale=alt.Scale(domain=members),
            axis=alt.Axis(grid=False, ticks=False, domain=False),
        )

    def _edges(self, alive: NDArray[np.bool_], *, copies: bool) -> alt.Chart:
        """Return the rounds that went on from each other, or those that began with a copy."""
        log = self.view.log
        wanted = (log.parent >= 0) & (self.tree.copied if copies else ~self.tree.copied)
        rows = np.flatnonzero(wanted)
        if not copies:
            rows, ends = _runs(log, rows, alive)
        else:
            ends = rows
        from_ = log.parent[rows]
        pale = 0.12 if copies and self.view.members > 24 else 0.3
        data = table(
            x=log.round[from_].tolist(),
            x2=log.round[ends].tolist(),
            y=log.member[from_].tolist(),
            y2=log.member[ends].tolist(),
            what=self.families.of_rows(self.tree.root[ends]),
            job=ids(self.view, ends),
            parent=ids(self.view, from_),
            alive=alive[ends].tolist(),
        )
        return (
            alt.Chart(data)
            .mark_rule(strokeCap="round")
            .encode(
                self._x("x:Q"),
                self._y("y:O"),
                alt.X2("x2:Q"),
                alt.Y2("y2:O"),
                color=self.families.legend.color(),
                strokeOpacity=alt.condition("datum.alive", alt.value(0.95), alt.value(pale)),
                strokeWidth=alt.value(1.1 if copies else 2.6),
                tooltip=["parent:N", "job:N", alt.Tooltip("what:N", title="family")],
            )
        )

    def _founders(self) -> alt.Chart:
        log = self.view.log
        rows = np.flatnonzero(log.parent < 0)
        data = table(
            x=log.round[rows].tolist(),
            y=log.member[rows].tolist(),
            job=ids(self.view, rows),
            what=self.families.of_rows(rows),
        )
        dots = alt.Chart(data).mark_circle(size=34)
        color = self.families.legend.color()
        return dots.encode(self._x("x:Q"), self._y("y:O"), color=color, tooltip=["job:N"])

    def _lineage(self) -> alt.LayerChart:
        line, log = self.view.line, self.view.log
        data = table(
            x=log.round[line].tolist(),
            y=log.member[line].tolist(),
            part=legs(log.round[line]).tolist(),
            what=[LINEAGE] * len(line),
        )
        chart = alt.Chart(data).encode(
            self._x("x:Q"),
            self._y("y:O"),
            detail="part:N",
            order="x:Q",
            color=self.families.legend.color(),
        )
        return halo(chart, self.theme, width=3.4)

    def _star(self) -> alt.Chart:
        best, log = self.view.line[-1:], self.view.log
        data = table(
            x=log.round[best].tolist(),
            y=log.member[best].tolist(),
            job=ids(self.view, best),
            what=[LINEAGE],
        )
        star = alt.Chart(data).mark_point(
            shape=STAR, size=360, filled=True, stroke=self.theme.background
        )
        color = self.families.legend.color()
        return star.encode(self._x("x:Q"), self._y("y:O"), color=color, tooltip=["job:N"])


def _living(log: Log) -> NDArray[np.bool_]:
    """Return for every row whether the newest job of some member descends from it: bool [n]."""
    alive = np.zeros(len(log), np.bool_)
    for last in newest(log).tolist():
        row = last
        while row >= 0 and not alive[row]:
            alive[row] = True
            row = int(log.parent[row])
    return alive


def _runs(log: Log, rows: Rows, alive: NDArray[np.bool_]) -> tuple[Rows, Rows]:
    """Return the first and the last rows of stretches without a copy, alive or not throughout."""
    order = rows[np.lexsort((log.round[rows], log.member[rows]))]
    if not len(order):
        return order, order
    before, after = order[:-1], order[1:]
    goes_on = (log.parent[after] == before) & (alive[after] == alive[before])
    starts = np.append(0, np.flatnonzero(~goes_on) + 1)
    ends = np.append(starts[1:] - 1, len(order) - 1)
    return order[starts], order[ends]

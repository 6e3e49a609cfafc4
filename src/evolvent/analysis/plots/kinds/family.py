"""The family tree: who copied whom, coloured by founder.

Every member is a line through its rounds, in the colour of the founder whose weights it carries; a
copy leaves the line of the donor and ends in that of the copier. What has no living descendants is
pale. Where that would be more marks than can be seen, the shares of the
founders in the population are drawn instead, round by round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evolvent.analysis.columns import Flags, Rows, evenly
from evolvent.analysis.lineage import family_tree
from evolvent.analysis.lineage.family_tree import FamilyTree
from evolvent.analysis.log import Log
from evolvent.analysis.plots.axis import round_axis
from evolvent.analysis.plots.common import best_summary, empty, finish, fitted, ids
from evolvent.analysis.plots.downsample import BINS
from evolvent.analysis.plots.drawing import ChartType, alt
from evolvent.analysis.plots.figure import Options
from evolvent.analysis.plots.marks import LINE, STAR, Legend, Mark, halo
from evolvent.analysis.plots.study_view import StudyView, legs
from evolvent.analysis.plots.theme import Theme

_MEMBERS, _MARKS = 80, 2_500
_ROW = 11  # pixels a member, at least
_LINEAGE, _OTHERS = "lineage of the best", "other founders"


def draw(log: Log, options: Options) -> ChartType:
    """Return the tree; of a large population the shares of the founders."""
    view = StudyView.of(log, options.metric)
    title = f"{view.study}: who copied whom"
    if view.best is None:
        return empty(options, title=title)
    tree = FamilyTree.of(log)
    families = _Families.of(tree, options.theme)
    subtitle = f"{families.summary} {best_summary(view)}"
    marks = log.rows.shape[0] + 2 * int(tree.copied.sum())
    if view.members <= _MEMBERS and marks <= _MARKS:
        drawn = _Tree(view, tree, families, options.theme).draw()
        chart = fitted(drawn, options, height=max(340, 160 + _ROW * view.members))
    else:
        title = f"{view.study}: whose descendants make up the population"
        chart = fitted(_shares(view, tree, families, options.theme), options)
    return finish(chart, options, title=title, subtitle=subtitle)


@dataclass(frozen=True, slots=True, eq=False)
class _Families:
    """The founders that get a colour of their own: those with the most living descendants."""

    names: dict[int, str]  # by the row of a founder
    legend: Legend  # the lineage of the best, the founders, and all others
    summary: str  # how many founders have living descendants, as a sentence

    @classmethod
    def of(cls, tree: FamilyTree, theme: Theme) -> _Families:
        log = tree.log
        newest = family_tree.newest_rows(family_tree.population_rows(log))
        found, counts = np.unique(tree.root[newest], return_counts=True)
        order = np.argsort(-counts, kind="stable")[: len(theme.palette)]
        names = {int(found[i]): f"from {log.id(int(found[i]))} ({counts[i]} living)" for i in order}
        colors = zip(names.values(), theme.palette, strict=False)
        marks = {_LINEAGE: Mark(theme.strong, LINE)}
        marks |= {name: Mark(color, LINE) for name, color in colors}
        if len(np.unique(tree.root)) > len(names):
            marks[_OTHERS] = Mark(theme.rest, LINE)
        few = "one founder" if len(found) == 1 else f"{len(found)} founders"
        summary = f"All that is left descends from {few} of {tree.n_founders:,}."
        return cls(names, Legend(marks), summary)

    def of_rows(self, roots: Rows) -> list[str]:
        """Return the names of the families of some founders, given by row."""
        return [self.names.get(root, _OTHERS) for root in roots.tolist()]


@dataclass(frozen=True, slots=True)
class _Tree:
    """The drawn tree; members are rows from top to bottom."""

    view: StudyView
    tree: FamilyTree
    families: _Families
    theme: Theme

    def draw(self) -> alt.LayerChart:
        log, line = self.view.log, self.view.line
        founders = np.flatnonzero(log.parent < 0)
        alive = family_tree.with_ancestors(log, family_tree.newest_rows(log.rows))
        parts = legs(log.round[line]).tolist()
        path = self._jobs(line, _LINEAGE, part=parts).encode(detail="part:N")
        dots = self._jobs(founders, self.families.of_rows(founders), job=ids(self.view, founders))
        star = self._jobs(line[-1:], _LINEAGE, job=ids(self.view, line[-1:])).mark_point(
            shape=STAR, size=360, filled=True, stroke=self.theme.background
        )
        return alt.layer(
            self._edges(alive, copies=False),
            self._edges(alive, copies=True),
            dots.mark_circle(size=34).encode(tooltip=["job:N"]),
            halo(path.encode(order="x:Q"), self.theme, width=3.4),
            star.encode(tooltip=["job:N"]),
        )

    def _jobs(self, rows: Rows, what: str | list[str], **columns: list[Any]) -> alt.Chart:
        """Return jobs at their places, coloured by family, with further columns of data."""
        log = self.view.log
        at = {"x": log.round[rows].tolist(), "y": log.member[rows].tolist()}
        y = alt.Y(
            "y:O",
            title="member",
            scale=alt.Scale(domain=np.unique(log.member).tolist()),
            axis=alt.Axis(grid=False, ticks=False, domain=False),
        )
        x = round_axis("x:Q", grid=False, padding=10)
        return self.families.legend.chart(what, **at, **columns).encode(x, y)

    def _edges(self, alive: Flags, *, copies: bool) -> alt.Chart:
        """Return the rounds that went on from each other, or those that began with a copy."""
        log = self.view.log
        rows = ends = np.flatnonzero((log.parent >= 0) & (self.tree.copied == copies))
        if not copies:
            rows, ends = _runs(log, rows, alive)
        from_ = log.parent[rows]
        edges = self._jobs(
            from_,
            self.families.of_rows(self.tree.root[ends]),
            x2=log.round[ends].tolist(),
            y2=log.member[ends].tolist(),
            job=ids(self.view, ends),
            parent=ids(self.view, from_),
            alive=alive[ends].tolist(),
        )
        pale = 0.12 if copies and self.view.members > 24 else 0.3
        return edges.mark_rule(strokeCap="round").encode(
            alt.X2("x2:Q"),
            alt.Y2("y2:O"),
            strokeOpacity=alt.condition("datum.alive", alt.value(0.95), alt.value(pale)),
            strokeWidth=alt.value(1.1 if copies else 2.6),
            tooltip=["parent:N", "job:N", alt.Tooltip("what:N", title="family")],
        )


def _runs(log: Log, rows: Rows, alive: Flags) -> tuple[Rows, Rows]:
    """Return the first and the last rows of stretches without a copy, alive or not throughout."""
    order = rows[np.lexsort((log.round[rows], log.member[rows]))]
    if not len(order):
        return order, order
    before, after = order[:-1], order[1:]
    goes_on = (log.parent[after] == before) & (alive[after] == alive[before])
    starts = np.append(0, np.flatnonzero(~goes_on) + 1)
    ends = np.append(starts[1:] - 1, len(order) - 1)
    return order[starts], order[ends]


def _shares(view: StudyView, tree: FamilyTree, families: _Families, theme: Theme) -> alt.Chart:
    """Return how much of the population descends from each founder, as stacked areas.

    At most `BINS` rounds are counted, evenly spread; the family of the best job has the
    strong colour.
    """
    legend = _legend(view, tree, families, theme)
    names, counted = list(legend.marks), evenly(np.arange(view.rounds), BINS)
    rows = view.log.rows[:, counted]
    n = (rows >= 0).sum(axis=0)  # who has reached each of the rounds
    own = [((rows >= 0) & (tree.root[rows] == founder)).sum(axis=0) for founder in families.names]
    shares = np.array([*own, n - sum(own)]) / n
    areas = legend.chart(
        names * len(counted),
        round=np.repeat(counted, len(names)).tolist(),
        order=list(range(len(names))) * len(counted),
        share=shares.T.ravel().round(5).tolist(),
    ).mark_area(strokeWidth=0.5, stroke=theme.background)
    percent = alt.Axis(title="share of the members", format="%")
    return areas.encode(
        round_axis(),
        alt.Y("share:Q", axis=percent, scale=alt.Scale(domain=[0, 1]), stack="zero"),
        order=alt.Order("order:O"),
        tooltip=[alt.Tooltip("what:N", title="family"), alt.Tooltip("share:Q", format=".1%")],
    )


def _legend(view: StudyView, tree: FamilyTree, families: _Families, theme: Theme) -> Legend:
    own = families.names.get(int(tree.root[view.line[-1]]))
    marks = {
        (f"{name}, the best too" if name == own else name): Mark(
            theme.strong if name == own else color, "square"
        )
        for name, color in zip(families.names.values(), theme.palette, strict=False)
    }
    return Legend({**marks, _OTHERS: Mark(theme.rest, "square")})

"""The family tree of a large population: the share of every founder, round by round."""

from __future__ import annotations

import numpy as np

from evolvent.analysis.lineage.family_tree import FamilyTree
from evolvent.analysis.plots.common import Legend, Mark, table
from evolvent.analysis.plots.downsample import BINS, evenly
from evolvent.analysis.plots.drawing import alt
from evolvent.analysis.plots.founders import OTHERS, Families
from evolvent.analysis.plots.study_view import StudyView
from evolvent.analysis.plots.theme import Theme


def shares(view: StudyView, tree: FamilyTree, families: Families, theme: Theme) -> alt.Chart:
    """Return how much of the population descends from each founder, as stacked areas.

    At most `reduce.BINS` rounds are counted, evenly spread; the family of the best job has the
    strong colour.
    """
    legend = _legend(view, tree, families, theme)
    names = list(legend.marks)
    rounds = evenly(np.arange(view.rounds), BINS).tolist()
    found = [(r, *share) for r in rounds for share in _counted(view, tree, families, r)]
    at, place, share = zip(*found, strict=True)
    data = table(round=at, order=place, share=share, what=[names[i] for i in place])
    percent = alt.Axis(title="share of the members", format="%")
    return (
        alt.Chart(data)
        .mark_area(strokeWidth=0.5, stroke=theme.background)
        .encode(
            alt.X("round:Q", title="round", scale=alt.Scale(nice=False), axis=alt.Axis(format="d")),
            alt.Y("share:Q", axis=percent, scale=alt.Scale(domain=[0, 1]), stack="zero"),
            color=legend.color(),
            order=alt.Order("order:O"),
            tooltip=[alt.Tooltip("what:N", title="family"), alt.Tooltip("share:Q", format=".1%")],
        )
    )


def _legend(view: StudyView, tree: FamilyTree, families: Families, theme: Theme) -> Legend:
    own = families.names.get(int(tree.root[view.line[-1]]))
    marks = {
        (f"{name}, the best too" if name == own else name): Mark(
            theme.strong if name == own else color, "square"
        )
        for name, color in zip(families.names.values(), theme.palette, strict=False)
    }
    return Legend({**marks, OTHERS: Mark(theme.rest, "square")})


def _counted(
    view: StudyView, tree: FamilyTree, families: Families, round_: int
) -> list[tuple[int, float]]:
    """Return place in the legend and share of every family among those who reached a round."""
    rows = view.log.rows[:, round_]
    roots = tree.root[rows[rows >= 0]]
    coloured = list(families.names)
    counts = [int((roots == founder).sum()) for founder in coloured]
    counts.append(len(roots) - sum(counts))
    return [(i, round(n / len(roots), 5)) for i, n in enumerate(counts)]

"""Which founders get a colour of their own, and what the legend says about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evolvent.analysis.lineage.family_tree import FamilyTree
from evolvent.analysis.plots.common import LINE, Legend, Mark, Rows
from evolvent.analysis.plots.study_view import newest
from evolvent.analysis.plots.theme import Theme

LINEAGE, OTHERS = "lineage of the best", "other founders"


@dataclass(frozen=True, slots=True, eq=False)
class Families:
    """The founders that get a colour of their own: those with the most living descendants.

    Attributes:
        names: by the row of a founder.
        legend: the lineage of the best, the founders, and all others.
        living: how many founders have living descendants.
        members: how many members there are.
    """

    names: dict[int, str]
    legend: Legend
    living: int
    members: int

    @classmethod
    def of(cls, tree: FamilyTree, theme: Theme) -> Families:
        log = tree.log
        found, counts = np.unique(tree.root[newest(log)], return_counts=True)
        order = np.argsort(-counts, kind="stable")[: len(theme.palette)]
        names = {int(found[i]): f"from {log.id(int(found[i]))} ({counts[i]} living)" for i in order}
        colors = zip(names.values(), theme.palette, strict=False)
        marks = {LINEAGE: Mark(theme.strong, LINE)}
        marks |= {name: Mark(color, LINE) for name, color in colors}
        if len(np.unique(tree.root)) > len(names):
            marks[OTHERS] = Mark(theme.rest, LINE)
        return cls(names, Legend(marks), len(found), int(counts.sum()))

    def summary(self) -> str:
        few = "one founder" if self.living == 1 else f"{self.living} founders"
        return f"All that is left descends from {few} of {self.members:,}."

    def of_rows(self, roots: Rows) -> list[str]:
        """Return the names of the families of some founders, given by row."""
        return [self.names.get(root, OTHERS) for root in roots.tolist()]

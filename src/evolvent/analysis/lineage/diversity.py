"""How much variety a population has left: founders, and the spread of each hyperparameter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evolvent.analysis.columns import Column, Flags, Numbers, Rows, evenly
from evolvent.analysis.lineage.family_tree import FamilyTree, population_rows, surviving
from evolvent.analysis.log import Log
from evolvent.core.distributions import Choice, Constant, Distribution, Logarithmic, Normal, Ordinal

COLLAPSED = 0.05
"""A spread below this share of the first one counts as collapsed."""

EARLY = 0.25
"""One founder left before this share of the study's rounds counts as collapsed, too."""

_LEAST = 4  # members: fewer soon have one founder whatever one does
_ADVICE = "More members, a smaller fraction to copy, burn_in, min_gap or some Resample keep more."

_LINES = 12


@dataclass(frozen=True, slots=True, eq=False)
class Diversity:
    """Variety round by round; one value a round in every array.

    The population as of round r is what each member came to at the end of its own round r (see
    `FamilyTree`). The spread of a number is its standard deviation over the members on its own
    scale (logarithmic in LogUniform and LogIntUniform) as a share of the range of its
    distribution, or of `sd` in Normal; drawn evenly from the space that is about 0.29. The spread
    of a Choice or Ordinal is 0 when all have the same of its values and 1 when each of them is
    there: how many are there beside the first, as a share of how many there may be.

    Attributes:
        round: int64 [rounds].
        members: int32 [rounds], how many there are.
        founders: int32 [rounds], how many initial members have descendants among them.
        ancestors: int32 [rounds], how many jobs of a round the newest job of some member descends
            from, or is: what is left of that round in the end.
        spread: by flat name: float64 [rounds]; NaN where nobody is there. Constants are left out.
        populated: bool [rounds], where at least two members are there, and at least half of the
            most there ever were.
        warning: what has collapsed and what helps, as a sentence; None: nothing has.
    """

    round: NDArray[np.int64]
    members: NDArray[np.int32]
    founders: NDArray[np.int32]
    ancestors: NDArray[np.int32]
    spread: Mapping[str, Numbers]
    populated: Flags
    warning: str | None

    @classmethod
    def of(cls, log: Log, tree: FamilyTree | None = None) -> Diversity:
        """Return the variety of a population from its log, or from its family tree already made."""
        tree = FamilyTree.of(log) if tree is None else tree
        rows, (_, left) = population_rows(log), surviving(tree)
        spread = {
            name: _spread(log.hyperparameters[name], rows, distribution)
            for name, distribution in log.status.record.space.items()
            if not isinstance(distribution, Constant)
        }
        most = tree.living.max() if tree.rounds else 0
        populated = (tree.living >= 2) & (tree.living * 2 >= most)
        shown = np.flatnonzero(populated)
        collapsed = [*_one_founder(tree, shown), *_no_spread(spread, shown)]
        return cls(
            round=np.arange(tree.rounds),
            members=tree.living,
            founders=tree.founders,
            ancestors=np.bincount(log.round[left], minlength=tree.rounds).astype(np.int32),
            spread=spread,
            populated=populated,
            warning=f"{'; '.join(collapsed)}. {_ADVICE}" if collapsed else None,
        )

    def shown(self) -> list[int]:
        """Return at most twelve rounds to be shown, among those that are populated."""
        shown: list[int] = evenly(np.flatnonzero(self.populated), _LINES).tolist()
        return shown

    def __str__(self) -> str:
        counts = (self.round, self.members, self.founders, self.ancestors)
        rows = [["round", "members", "founders", "ancestors", *self.spread]]
        for r in self.shown():
            spread = (f"{values[r]:.3f}" for values in self.spread.values())
            rows.append([*(str(count[r]) for count in counts), *spread])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(lines if self.warning is None else [*lines, f"warning: {self.warning}"])


def _spread(column: Column, rows: Rows, distribution: Distribution) -> Numbers:
    if isinstance(distribution, (Choice, Ordinal)):
        return _share(column, rows, list(distribution.values))
    there = rows >= 0
    log = isinstance(distribution, Logarithmic)
    numbers = np.log(column) if log else column.astype(np.float64)
    values = np.zeros(rows.shape)
    values[there] = numbers[rows[there]]
    n = there.sum(axis=0)
    some = np.maximum(n, 1)  # no division by zero: those rounds become NaN at the end
    mean = values.sum(axis=0) / some
    unit = distribution.sd if isinstance(distribution, Normal) else _range(distribution)
    square = (np.where(there, values - mean, 0.0) / unit) ** 2  # squares of 1e300 overflow
    return np.where(n > 0, np.sqrt(square.sum(axis=0) / some), np.nan)


def _range(distribution: Distribution) -> float:
    low, high = distribution.low, distribution.high  # type: ignore[union-attr]  # an interval
    return float(distribution.scaled(high) - distribution.scaled(low))  # type: ignore[union-attr]


def _share(column: Column, rows: Rows, values: list[object]) -> Numbers:
    """Return how many listed values somebody has beside one, as a share of what may be."""
    there = rows >= 0
    found = np.zeros(rows.shape[1])
    for value in values:
        found += (there & (column == value)[rows]).any(axis=0) if len(column) else 0
    return np.where(there.any(axis=0), (found - 1) / max(1, len(values) - 1), np.nan)


def _one_founder(tree: FamilyTree, populated: Rows) -> Iterator[str]:
    since, rounds = tree.coalesced, tree.log.status.record.rounds
    if since is None or not len(populated) or tree.living[populated[0]] < _LEAST:
        return
    if since < EARLY * rounds:
        [founder] = tree.descendants(since)
        yield f"all members descend from {founder} since round {since} of {rounds}"


def _no_spread(spread: Mapping[str, Numbers], populated: Rows) -> Iterator[str]:
    if len(populated) < 2:
        return
    first, last = populated[0], populated[-1]
    varied = {name: values for name, values in spread.items() if values[first] > 0}
    left = [values[last] / values[first] for values in varied.values()]
    if left and max(left) < COLLAPSED:
        names = ", ".join(list(varied)[:3]) + (", …" if len(varied) > 3 else "")
        yield (
            f"as of round {last} the spread of every hyperparameter ({names}) is down to "
            f"{max(left):.0%} of the first or less"
        )

"""How much variety a population has left: founders, and the spread of each hyperparameter."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evolvent.analysis.columns import Column, Flags, Numbers, Rows, evenly
from evolvent.analysis.lineage.family_tree import FamilyTree, population_rows, surviving
from evolvent.analysis.lineage.noise import noise_warning
from evolvent.analysis.log import Log
from evolvent.core.distributions import (
    Choice,
    Constant,
    Distribution,
    Logarithmic,
    Normal,
    Ordinal,
    ReverseLogUniform,
)
from evolvent.core.values import identity
from evolvent.store.protocol import Store
from evolvent.store.records import StudyStatus

_logger = logging.getLogger("evolvent")

_ALIKE = 0.01
"""Numbers closer than this share of the largest count as one value."""

# Of values at a bound one in two copies is clipped back to it: eight in a row are no accident.
_LEAST_ROUNDS, _LEAST_COPIES = 6, 8

_LINES = 12
_COLUMNS = 80  # of a terminal
_QUICK = 20_000
"""So many jobs are read in a moment, to see whether there is a warning."""


@dataclass(frozen=True, slots=True, eq=False)
class Diversity:
    """Variety round by round; one value a round in every array.

    The population as of round r is what each member came to at the end of its own round r (see
    `FamilyTree`). The spread of a number is its standard deviation over the members on its own
    scale (logarithmic in LogUniform and the like) as a share of the range of its
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
        warning: that copies explore nothing any more, or that noise decides who is copied (see
            `noise_warning`), and what helps, in sentences; None: neither. That one founder is left
            is how it should be, and no warning.
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
        warnings = [*_nothing_new(tree, rows, shown, spread), *noise_warning(log)]
        return cls(
            round=np.arange(tree.rounds),
            members=tree.living,
            founders=tree.founders,
            ancestors=np.bincount(log.round[left], minlength=tree.rounds).astype(np.int32),
            spread=spread,
            populated=populated,
            warning=" ".join(warnings) or None,
        )

    def shown(self) -> list[int]:
        """Return at most twelve rounds to be shown, among those that are populated."""
        shown: list[int] = evenly(np.flatnonzero(self.populated), _LINES).tolist()
        return shown

    def __repr__(self) -> str:
        return f"<Diversity of {len(self.round)} rounds: print it>"

    def __str__(self) -> str:
        counts = (self.round, self.members, self.founders, self.ancestors)
        rows = [["round", "members", "founders", "ancestors", *self.spread]]
        for r in self.shown():
            spread = (f"{values[r]:.3f}" for values in self.spread.values())
            rows.append([*(str(count[r]) for count in counts), *spread])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([*lines, *warning_lines(self.warning)])


def read_warning(store: Store, status: StudyStatus) -> str | None:
    """Return the `warning` of a study's `Diversity`; None of one too long to be read in a moment.

    Raises:
        EvolventError: the log cannot be read.
    """
    if status.n_finished > _QUICK:
        return None
    with np.errstate(all="ignore"):  # of values such as 1e300
        return Diversity.of(Log.read(store, status.id)).warning


def last_warnings(store: Store, status: StudyStatus) -> list[str]:
    """Return in lines what a run ends with; none where the log cannot be read."""
    try:
        return warning_lines(read_warning(store, status))
    except Exception:
        _logger.debug("no warnings of study %r", status.record.name, exc_info=True)
        return []


def warning_lines(warning: str | None) -> list[str]:
    """Return a warning in lines of a terminal; None is no line."""
    told = "" if warning is None else f"warning: {warning}"
    return textwrap.wrap(told, _COLUMNS, subsequent_indent="  ", break_on_hyphens=False)


def _spread(column: Column, rows: Rows, distribution: Distribution) -> Numbers:
    if isinstance(distribution, (Choice, Ordinal)):
        return _share(column, rows, list(distribution.values))
    there = rows >= 0
    numbers = column.astype(np.float64)
    if isinstance(distribution, Logarithmic):
        numbers = np.log(numbers)
    elif isinstance(distribution, ReverseLogUniform):
        numbers = -np.log1p(-numbers)
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
    if column.dtype == object:  # a list would be compared with every row at once
        places = {identity(value): place for place, value in enumerate(values)}
        column = np.array([places.get(identity(x), -1) for x in column.tolist()], np.int64)
        values = [*range(len(values))]
    for value in values:
        found += (there & (column == value)[rows]).any(axis=0) if len(column) else 0
    return np.where(there.any(axis=0), (found - 1) / max(1, len(values) - 1), np.nan)


def _nothing_new(
    tree: FamilyTree, rows: Rows, populated: Rows, spread: Mapping[str, Numbers]
) -> Iterator[str]:
    """Say that copies go on while all train with the same values, round after round.

    Their spread as a share of the range does not tell: near 0, or on a wide logarithmic range,
    factors go on exploring within a hundredth of it.
    """
    log, names = tree.log, [n for n, values in spread.items() if (values[populated[:1]] > 0).all()]
    if len(populated) < _LEAST_ROUNDS + 1 or not names:
        return
    copied = np.where(rows >= 0, tree.copied[rows], False).sum(axis=0)
    n_copies = np.cumsum(copied[populated][::-1])
    length = max(int(np.searchsorted(n_copies, _LEAST_COPIES)) + 1, _LEAST_ROUNDS)
    if length >= len(populated):  # not so many copies, or from the first round on
        return
    first, last = int(populated[-length]), int(populated[-1])
    window = rows[:, first : last + 1]
    window = window[window >= 0]
    if all(_alike(log.hyperparameters[name][window]) for name in names):
        listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        space = log.status.record.space
        cure = "Factors further apart, or some Resample, explore again."
        if all(isinstance(space[name], Choice) for name in names):
            cure = (
                f'To have a Choice drawn anew, name it: explore={{"{names[0]}": Resample(0.25)}}.'
            )
        yield (
            f"In rounds {first} to {last} all members trained with the same values ({listed}), "
            f"though {n_copies[length - 1]} copies were made: nothing is explored any more. {cure}"
        )


def _alike(values: Column) -> bool:
    if values.dtype.kind not in "iuf":
        return all(value == values[0] for value in values)
    largest = np.abs(values).max()
    return bool(values.max() - values.min() <= _ALIKE * largest)

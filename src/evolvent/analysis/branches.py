"""The family tree of those who are left, without what runs straight on: only where it branches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evolvent.analysis.family import FamilyTree, left_over
from evolvent.core.records import JobId


@dataclass(frozen=True, slots=True)
class Branch:
    """A stretch of weights between two points at which their descendants part.

    Attributes:
        first, last: its first and its last job; the last has several descendants, or is the
            newest of its member.
        jobs: how many there are from `first` to `last`.
        copies: at how many of them the weights went over to another member.
        members: how many members' newest weights come from it.
        value: the metric of `last`, as training reported it.
        newest: whether `last` is the newest done job of its member.
        branches: those that go on from `last`, the one with the most members first.
    """

    first: JobId
    last: JobId
    jobs: int
    copies: int
    members: int
    value: float
    newest: bool
    branches: tuple[Branch, ...]

    def walk(self) -> Iterator[tuple[int, Branch]]:
        """Yield this and all that grows from it, each after its stem, with its depth from 0."""
        stack: list[tuple[int, Branch]] = [(0, self)]
        while stack:
            depth, branch = stack.pop()
            yield depth, branch
            stack.extend((depth + 1, above) for above in reversed(branch.branches))


def branches(tree: FamilyTree) -> tuple[Branch, ...]:
    """Return the stems of a family tree, one for each founder with descendants among the newest."""
    parent = tree.log.parent
    newest, marked = left_over(tree)
    rows = np.flatnonzero(marked)
    own = parent[rows]
    forks = np.bincount(own[own >= 0], minlength=len(tree))
    ends = rows[(forks[rows] != 1) | newest[rows]]
    return tuple(_grown(tree, ends, newest))


def _grown(
    tree: FamilyTree, ends: NDArray[np.int64], newest: NDArray[np.bool_]
) -> Iterator[Branch]:
    """Yield the stems; whoever grows later stands in a later row, so go through them backwards."""
    grown: dict[int, list[Branch]] = {}
    known = set(ends.tolist())
    for end in reversed(ends.tolist()):
        first, jobs, copies = end, 1, int(tree.copied[end])
        while (above := int(tree.log.parent[first])) >= 0 and above not in known:
            first, jobs, copies = above, jobs + 1, copies + int(tree.copied[above])
        branch = _branch(tree, (first, end), (jobs, copies), newest, grown.pop(end, []))
        grown.setdefault(above, []).append(branch)
    yield from _sorted(grown.get(-1, []))


def _branch(
    tree: FamilyTree,
    ends: tuple[int, int],
    counts: tuple[int, int],
    newest: NDArray[np.bool_],
    above: list[Branch],
) -> Branch:
    first, last = ends
    record, here = tree.log.status.record, bool(newest[last])
    return Branch(
        first=tree.log.id(first),
        last=tree.log.id(last),
        jobs=counts[0],
        copies=counts[1],
        members=here + sum(branch.members for branch in above),
        value=record.score(float(tree.log.score[last])),
        newest=here,
        branches=_sorted(above),
    )


def _sorted(found: list[Branch]) -> tuple[Branch, ...]:
    return tuple(sorted(found, key=lambda b: (-b.members, b.first.round, b.first.member)))

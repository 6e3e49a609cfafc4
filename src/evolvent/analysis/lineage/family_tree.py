"""The family tree: whose weights every job descends from, and who is left of the beginning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evolvent.analysis import html
from evolvent.analysis.columns import Flags, Rows
from evolvent.analysis.log import Log
from evolvent.core.records import JobId
from evolvent.errors import UnknownJob


@dataclass(frozen=True, slots=True)
class Edge:
    """From a job to one that started from its checkpoint; `copied` when by another member."""

    parent: JobId
    child: JobId
    copied: bool


@dataclass(frozen=True, slots=True, eq=False)
class FamilyTree:
    """Every finished job of a study as a node, and where its weights come from as an edge.

    A node is a row of the log; arrays [n] have one value a row. Most of what is here is asked *as
    of a round*: the population as of round r is what each member came to at the end of its own
    round r, its r-th job from 0, whenever that was. Asynchronous members reach it at different
    times, and in a running study some have not reached it yet; those are left out, as are members
    whose job of that round failed.

    Attributes:
        log: the rows; `log.parent` is the row that a row started from, -1 for fresh weights.
        root: int64 [n], the row whose fresh weights it descends from, perhaps its own.
        depth: int32 [n], how many ancestors it has.
        copied: bool [n], whether it started from another member's checkpoint.
        children: int32 [n], how many jobs started from its checkpoint.
        copies: int32 [n], how many of them were of other members.
        living: int32 [rounds], the members as of a round.
        founders: int32 [rounds], how many founders have descendants among them.
        common: int64 [rounds], the row of their last common ancestor; -1: there is none.
    """

    log: Log
    root: Rows
    depth: NDArray[np.int32]
    copied: Flags
    children: NDArray[np.int32]
    copies: NDArray[np.int32]
    living: NDArray[np.int32]
    founders: NDArray[np.int32]
    common: Rows

    @classmethod
    def of(cls, log: Log) -> FamilyTree:
        """Return the family tree of a log."""
        n, parent = len(log), log.parent
        born = parent >= 0
        ups, depth = _ancestors(parent)
        copied = log.copied()
        roots = _roots(ups)
        rows = population_rows(log)
        living, founders = _founders(rows, roots)
        return cls(
            log=log,
            root=roots,
            depth=depth[:n],
            copied=copied,
            children=np.bincount(parent[born], minlength=n).astype(np.int32),
            copies=np.bincount(parent[copied], minlength=n).astype(np.int32),
            living=living,
            founders=founders,
            common=_common(rows, founders, ups, depth),
        )

    def __len__(self) -> int:
        return len(self.log)

    @property
    def rounds(self) -> int:
        """How many rounds have been reached."""
        return len(self.founders)

    @property
    def n_founders(self) -> int:
        """How many jobs with fresh weights are done, those of pushed members included."""
        return int(((self.log.parent < 0) & ~self.log.failed).sum())

    def nodes(self) -> Iterator[JobId]:
        """Yield the finished jobs in the order of their reports."""
        return map(self.log.id, range(len(self)))

    def edges(self) -> Iterator[Edge]:
        """Yield who started from whom, in the order of the children's reports."""
        for row in np.flatnonzero(self.log.parent >= 0):
            parent = self.log.id(int(self.log.parent[row]))
            yield Edge(parent, self.log.id(int(row)), bool(self.copied[row]))

    def founder(self, job: JobId | str) -> JobId:
        """Return the job that began with fresh weights and from which this one descends.

        Raises:
            UnknownJob: no such job has finished.
        """
        return self.log.id(int(self.root[self.log.row(JobId.parse(job))]))

    def descendants(self, round: int | None = None) -> dict[JobId, int]:
        """Return how many members as of a round descend from each founder that is left.

        Args:
            round: 0 to `rounds - 1`; None for the last that at least half of the members reached.

        Raises:
            UnknownJob: no job of that round is done.
        """
        rows = self.log.rows[:, self._reached(round)]
        rows = rows[rows >= 0]
        founders = self.root[rows[~self.log.failed[rows]]]
        found, counts = np.unique(founders, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return {self.log.id(int(found[i])): int(counts[i]) for i in order}

    def common_ancestor(self, round: int | None = None) -> JobId | None:
        """Return the last job that all members as of a round descend from; None if there is none.

        Args:
            round: as in `descendants`.

        Raises:
            UnknownJob: no job of the given round is done.
        """
        if round is None and self.last_round < 0:
            return None
        row = int(self.common[self._reached(round)])
        return None if row < 0 else self.log.id(row)

    @property
    def last_round(self) -> int:
        """The last round that at least half as many members reached as began; -1: none."""
        if not self.living.any():
            return -1
        return int(np.flatnonzero(self.living * 2 >= self.living.max())[-1])

    @property
    def coalesced(self) -> int | None:
        """The first round as of which, and ever after, one founder is left; None: not yet.

        Rounds that only one member has reached say nothing and are left out; so is a study of one.
        """
        populated = np.flatnonzero(self.living >= 2)
        several = populated[self.founders[populated] > 1]
        if not len(populated) or self.founders[populated[-1]] > 1:
            return None
        first = populated[0] if not len(several) else populated[populated > several[-1]][0]
        return int(first)

    def _reached(self, round: int | None) -> int:
        """Return a round in which jobs are done, the last by default."""
        at = self.last_round if round is None else round
        if 0 <= at < self.rounds and self.living[at]:
            return at
        if round is None:
            raise UnknownJob("no job is done")
        last = f"rounds 0 to {self.rounds - 1} have" if self.rounds else "none has"
        raise UnknownJob(f"round {round}: no finished job in it; {last} been reached")

    def __str__(self) -> str:
        n_copies = int(self.copied.sum())
        lines = [f"{len(self)} jobs, {n_copies} of them started from a copy"]
        if (at := self.last_round) >= 0:
            left = ", ".join(f"{id} ({n})" for id, n in list(self.descendants(at).items())[:8])
            lines.append(f"founders with descendants as of round {at}: {left}")
        if (common := self.common_ancestor()) is not None:
            lines.append(f"last common ancestor: {common}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        name, copies = self.log.status.record.name, int(self.copied.sum())
        return f"<FamilyTree of {name!r}: {len(self)} jobs, {copies} of them copies>"

    def _repr_html_(self) -> str:
        title, stems = f"Family tree of {self.log.status.record.name}", branches(self)
        lines = [line for stem in stems for line in stem.walk()]
        shown = largest(lines, html.MOST_ROWS)
        guides = tree_lines([depth for depth, _ in shown])
        best = self.log.status.best
        rows = [
            [guide.replace(" ", "\u00a0") + b.span, b.jobs, b.copies, b.members, b.value]
            for guide, (_, b) in zip(guides, shown, strict=True)
        ]
        classes = ["best" if b.last == best else "" for _, b in shown]
        titles = ["", "jobs", "copies", "members", self.log.status.record.metric]
        table = html.rows(titles, rows, classes=classes)
        more = len(lines) - len(shown)
        note = html.note(f"{more} more branches") if more else ""
        return html.framed(title, descent(self, stems), table, note)


def population_rows(log: Log) -> Rows:
    """Return int64 [members, rounds]: the row of a member's done job as of a round, or -1."""
    # For no row, -1 looks at the last one: whatever it is, -1 stays.
    return np.where(log.failed[log.rows], -1, log.rows)


def surviving(tree: FamilyTree) -> tuple[Flags, Flags]:
    """Return which jobs matter to those who are left.

    Returns:
        bool [n], the newest done job of every member; bool [n], these and all their ancestors.
    """
    current = newest_rows(population_rows(tree.log))
    newest = np.zeros(len(tree), np.bool_)
    newest[current] = True
    return newest, with_ancestors(tree.log, current)


def newest_rows(rows: Rows) -> Rows:
    """Return the last row of every member that has one; `rows` as in `Log.rows`."""
    last: Rows = rows.max(axis=1, initial=-1)  # later rounds are reported later
    return last[last >= 0]


def with_ancestors(log: Log, current: Rows) -> Flags:
    """Return bool [n]: some rows of a log and all their ancestors."""
    marked = np.zeros(len(log), np.bool_)
    while len(current := np.unique(current[current >= 0])):
        current = current[~marked[current]]
        marked[current] = True
        current = log.parent[current]
    return marked


def _ancestors(parent: Rows) -> tuple[list[Rows], NDArray[np.int32]]:
    """Return by k the ancestor 2**k generations up, with row n for none, and every row's depth."""
    n = len(parent)
    up = np.append(np.where(parent >= 0, parent, n), n).astype(np.int64)
    # Doubled each time: a lineage of a million rounds takes twenty passes, not a million.
    ups, depth = [up], (up < n).astype(np.int32)
    while (up < n).any():
        depth = depth + depth[up]
        up = up[up]
        ups.append(up)
    return ups, depth


def _roots(ups: list[Rows]) -> Rows:
    n = len(ups[0]) - 1
    root = np.arange(n, dtype=np.int64)
    for up in reversed(ups):
        higher = up[root]
        root = np.where(higher < n, higher, root)
    return root


def _founders(rows: Rows, root: Rows) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return for every round how many members there are and how many founders they have."""
    there = rows >= 0
    founders = np.full(rows.shape, -1, np.int64)
    founders[there] = root[rows[there]]
    founders.sort(axis=0)  # each new value that is one counts
    first = np.ones(founders.shape, np.bool_)
    first[1:] = founders[1:] != founders[:-1]
    distinct = (first & (founders >= 0)).sum(axis=0)
    return there.sum(axis=0).astype(np.int32), distinct.astype(np.int32)


def _common(
    rows: Rows, founders: NDArray[np.int32], ups: list[Rows], depth: NDArray[np.int32]
) -> Rows:
    """Return the last common ancestor as of every round, -1 where there are several founders."""
    common = np.full(rows.shape[1], -1, np.int64)
    one = np.flatnonzero(founders == 1)
    if not len(one):
        return common
    left = rows[:, one]
    left = np.where(left >= 0, left, left.max(axis=0))  # who is missing changes nothing
    while len(left) > 1:
        half = len(left) // 2
        met = _meet(left[:half], left[half : 2 * half], ups, depth)
        left = np.concatenate([met, left[2 * half :]])
    common[one] = left[0]
    return common


def _meet(a: Rows, b: Rows, ups: list[Rows], depth: NDArray[np.int32]) -> Rows:
    """Return the last common ancestors of pairs that have one."""
    # First the deeper of either pair climbs to the depth of the other, by the bits of the distance;
    # then both climb as long as they stay apart, so that one step more is where they meet.
    deeper = depth[a] >= depth[b]
    a, b = np.where(deeper, a, b), np.where(deeper, b, a)
    above = depth[a] - depth[b]
    for k, up in enumerate(ups):
        a = np.where(above >> k & 1, up[a], a)
    for up in reversed(ups):
        apart = up[a] != up[b]
        a, b = np.where(apart, up[a], a), np.where(apart, up[b], b)
    return np.where(a == b, a, ups[0][a])


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

    @property
    def span(self) -> str:
        """Its first and its last job in one text."""
        return self.first if self.jobs == 1 else f"{self.first} … {self.last}"

    def walk(self) -> Iterator[tuple[int, Branch]]:
        """Yield this and all that grows from it, each after its stem, with its depth from 0."""
        stack: list[tuple[int, Branch]] = [(0, self)]
        while stack:
            depth, branch = stack.pop()
            yield depth, branch
            stack.extend((depth + 1, above) for above in reversed(branch.branches))


def branches(tree: FamilyTree) -> tuple[Branch, ...]:
    """Return the stems of a family tree, one for each founder with descendants among the newest."""
    log, (newest, marked) = tree.log, surviving(tree)
    rows = np.flatnonzero(marked)
    own = log.parent[rows]
    forks = np.bincount(own[own >= 0], minlength=len(tree))
    ends = rows[(forks[rows] != 1) | newest[rows]].tolist()
    known = set(ends)
    grown: dict[int, list[Branch]] = {}
    # Whoever grows later stands in a later row, so go through them backwards.
    for last in reversed(ends):
        first, jobs, copies = last, 1, int(tree.copied[last])
        while (stem := int(log.parent[first])) >= 0 and stem not in known:
            first, jobs, copies = stem, jobs + 1, copies + int(tree.copied[stem])
        above = grown.pop(last, [])
        branch = Branch(
            first=log.id(first),
            last=log.id(last),
            jobs=jobs,
            copies=copies,
            members=bool(newest[last]) + sum(branch.members for branch in above),
            value=log.status.record.score(float(log.score[last])),
            newest=bool(newest[last]),
            branches=_sorted(above),
        )
        grown.setdefault(stem, []).append(branch)
    return _sorted(grown.get(-1, []))


def _sorted(found: list[Branch]) -> tuple[Branch, ...]:
    return tuple(sorted(found, key=lambda b: (-b.members, b.first.round, b.first.member)))


def descent(tree: FamilyTree, stems: Sequence[Branch]) -> str:
    """Say how many members descend from how many founders, and where all of them meet."""
    if not stems:
        return "no job is done yet"
    left = sum(stem.members for stem in stems)
    members = "1 member descends" if left == 1 else f"{left} members descend"
    founders = f"{len(stems)} founder{'s' if len(stems) > 1 else ''}"
    common = tree.common_ancestor()
    meet = "" if common is None else f"; their last common ancestor is {common}"
    return f"{members} from {founders} of {tree.n_founders}{meet}"


def largest(lines: list[tuple[int, Branch]], most: int | None) -> list[tuple[int, Branch]]:
    """Return so many branches with the most members; their stems have more, so are among them."""
    order = sorted(range(len(lines)), key=lambda i: -lines[i][1].members)
    return [lines[i] for i in sorted(order[:most])]


def tree_lines(depths: Sequence[int]) -> list[str]:
    """Return the lines that lead to branches of these depths, each given after its stem."""
    guides: list[str] = []
    more: list[bool] = []  # by depth: whether another follows on the same stem
    for depth in reversed(depths):
        more = [*more, *[False] * (depth + 1 - len(more))][: depth + 1]
        above = "".join("│ " if more[d] else "  " for d in range(1, depth))
        guides.append(above + ("" if not depth else "├─" if more[depth] else "└─"))
        more[depth] = True
    return guides[::-1]

"""The population an algorithm decides on: the members' newest finished jobs, always ranked."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Protocol, overload

import numpy as np

from evolvent.core.records import JobRecord, Member

_SORTS_FROM = 6  # as a share of the members: from there on, sorting anew is cheaper

_MANY = 16  # who asks for so many ranks without an update between them will ask for all


class History(Protocol):
    """The finished part of the log, for algorithms that must remember."""

    def scores(self, member: int, window: int) -> Sequence[float]:
        """Return at most `window` newest scores along the lineage of a member, oldest first.

        The lineage follows the weights from the member's newest job: before a copy it is the
        donor's. Failed jobs have no score.
        """
        ...

    def jobs(self) -> Sequence[JobRecord]:
        """Return every finished job, in the order in which they finished."""
        ...


class NoHistory:
    """The history of a population that was put together by hand."""

    def scores(self, member: int, window: int) -> Sequence[float]:  # noqa: ARG002 - there is none
        return ()

    def jobs(self) -> Sequence[JobRecord]:
        return ()


class Population(Sequence[Member]):
    """Members in the order of their numbers, with their ranking kept up to date.

    Rank 0 is the best. Equal scores rank by member number; failed members come last.
    Only stores call `update`; algorithms read.
    """

    def __init__(self, members: Iterable[Member] = (), history: History | None = None) -> None:
        self.history: History = history if history is not None else NoHistory()
        self._members = {m.id: m for m in members}
        all_ = self._members.values()
        self._healthy = sorted((-m.score, m.id) for m in all_ if m.score is not None)
        self._failed = sorted(m.id for m in all_ if m.failed)
        self._order: list[int] | None = None
        self._ranks: dict[int, int] | None = None
        self._asked = 0  # for ranks, since the last update

    @classmethod
    def of(cls, members: Sequence[Member]) -> Population:
        """Return `members` itself if it is a population, else a population of them."""
        return members if isinstance(members, cls) else cls(members)

    def update(self, *members: Member) -> None:
        """Put the newer states of members, or new ones, in their places.

        One by one each costs O(log N) comparisons; many at once are sorted anew together.
        """
        self._ranks, self._asked = None, 0
        if len(members) * _SORTS_FROM > len(self._members):
            self._update_together(members)
            return
        for member in members:
            old = self._members.get(member.id)
            if old is None:
                self._order = None
            elif old.score is None:
                del self._failed[bisect_left(self._failed, old.id)]
            else:
                del self._healthy[bisect_left(self._healthy, (-old.score, old.id))]
            self._members[member.id] = member
            if member.score is None:
                insort(self._failed, member.id)
            else:
                insort(self._healthy, (-member.score, member.id))

    def _update_together(self, members: Iterable[Member]) -> None:
        newer = {member.id: member for member in members}
        if not newer.keys() <= self._members.keys():
            self._order = None
        self._members.update(newer)
        self._healthy = [key for key in self._healthy if key[1] not in newer]
        self._failed = [id for id in self._failed if id not in newer]
        self._healthy += [(-m.score, m.id) for m in newer.values() if m.score is not None]
        self._failed += [m.id for m in newer.values() if m.score is None]
        self._healthy.sort()
        self._failed.sort()

    def member(self, id: int) -> Member:
        return self._members[id]

    def __contains__(self, member: object) -> bool:
        return isinstance(member, Member) and self._members.get(member.id) == member

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return map(self._members.__getitem__, self._numbers())

    @overload
    def __getitem__(self, index: int) -> Member: ...
    @overload
    def __getitem__(self, index: slice) -> list[Member]: ...
    def __getitem__(self, index: int | slice) -> Member | list[Member]:
        order = self._numbers()
        if isinstance(index, slice):
            return [self._members[i] for i in order[index]]
        return self._members[order[index]]

    @property
    def n_healthy(self) -> int:
        return len(self._healthy)

    def rank(self, member: Member) -> int:
        """Return the member's rank by its state in this population; 0 is the best."""
        if self._ranks is not None:
            return self._ranks[member.id]
        self._asked += 1
        if self._asked == _MANY:
            ranked = chain((id for _, id in self._healthy), self._failed)
            self._ranks = {id: rank for rank, id in enumerate(ranked)}
        score = self._members[member.id].score
        if score is None:
            return len(self._healthy) + bisect_left(self._failed, member.id)
        return bisect_left(self._healthy, (-score, member.id))

    def at_rank(self, rank: int) -> Member:
        """Return the healthy member of this rank, 0 to `n_healthy - 1`."""
        return self._members[self._healthy[rank][1]]

    def n_above(self, member: Member, *, gap: float = 0.0) -> int:
        """Return how many healthy members have a higher score, and one higher by at least `gap`.

        They are the first ranks. All healthy members are above a failed one.
        """
        score = member.score
        if score is None:
            return self.n_healthy
        if gap <= 0:
            return bisect_left(self._healthy, (-score, -1))

        # The same subtraction as in `at_least`: a sum could round to the other side of the gap.
        def below(key: tuple[float, int]) -> bool:
            return -key[0] - score < gap

        return bisect_left(self._healthy, True, key=below)

    def draw_donor(
        self, me: Member, *, rng: np.random.Generator, best: int | None = None
    ) -> Member | None:
        """Draw one donor for `me` uniformly: another, healthy member.

        Args:
            me: the member that would copy; never drawn.
            rng: where the draws come from.
            best: draw among that many best ranks only; None for all.

        Returns:
            The donor, or None when there is no such member.
        """
        top = self.n_healthy if best is None else min(best, self.n_healthy)
        if top == 0 or (top == 1 and self.at_rank(0).id == me.id):
            return None
        while True:  # again, if it is itself: so each of the others is equally likely
            donor = self.at_rank(int(rng.random() * top))
            if donor.id != me.id:
                return donor

    def _numbers(self) -> list[int]:
        if self._order is None:
            self._order = sorted(self._members)
        return self._order

"""The population an algorithm decides on: the members' newest finished jobs, always ranked."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from typing import Protocol, overload

import numpy as np

from evolvent.core.records import JobRecord, Member

_SORTS_FROM = 6  # where more than one in so many has changed, sorting anew is cheaper

_VIEWS = 8  # rounds after which members are compared at about the same time

_MANY = 16  # who asks for so many ranks without an update between them will ask for all


class History(Protocol):
    """The finished part of the log, for algorithms that must remember."""

    def scores(self, member: int, window: int, *, round: int | None = None) -> Sequence[float]:
        """Return at most `window` newest scores along the lineage of a member, oldest first.

        The lineage follows the weights from the member's newest job: before a copy it is the
        donor's. Failed jobs have no score.

        Args:
            member: its number.
            window: how many scores, 1 or more.
            round: the lineage of its job of this round, where it has got so far.
        """
        ...

    def round_scores(self, round: int) -> Mapping[int, float | None]:
        """Return what the jobs of a round scored, by member; None for one that failed.

        At least of members whose newest job is that of the next round.
        """
        ...

    def jobs(self) -> Sequence[JobRecord]:
        """Return every finished job, in the order in which they finished."""
        ...


class NoHistory:
    """The history of a population that was put together by hand."""

    def scores(self, member: int, window: int, *, round: int | None = None) -> Sequence[float]:  # noqa: ARG002 - there is none
        return ()

    def round_scores(self, round: int) -> Mapping[int, float | None]:  # noqa: ARG002 - there is none
        return {}

    def jobs(self) -> Sequence[JobRecord]:
        return ()


@dataclass(frozen=True, slots=True)
class _HistoryAfter:
    """A history in which the lineages of members that count with an earlier score end there."""

    history: History
    round: int
    held: Set[int]

    def scores(self, member: int, window: int, *, round: int | None = None) -> Sequence[float]:
        if round is None and member in self.held:
            round = self.round
        return self.history.scores(member, window, round=round)

    def round_scores(self, round: int) -> Mapping[int, float | None]:
        return self.history.round_scores(round)

    def jobs(self) -> Sequence[JobRecord]:
        return self.history.jobs()


class Population(Sequence[Member]):
    """Members in the order of their numbers, with their ranking kept up to date.

    Rank 0 is the best. Equal scores rank by member number; failed members come last.
    Only stores call `update`; algorithms read.
    """

    def __init__(self, members: Iterable[Member] = (), history: History | None = None) -> None:
        self.history: History = history if history is not None else NoHistory()
        self._members = {m.id: m for m in members}
        self._keys: list[tuple[float, int]] = []  # of the healthy, the best first
        self._failed: list[int] = []
        # Those that have changed since they were put in their places, as they were then.
        self._moved: dict[int, Member | None] = dict.fromkeys(self._members)
        self._order: list[int] | None = None
        self._ranks: dict[int, int] | None = None
        self._asked = 0  # for ranks, since the last update
        self._n_at = Counter(m.round for m in self._members.values())  # by last round, how many
        self._last_round = max(self._n_at, default=-1)
        self._before: dict[int, float | None] = {}  # what members scored before, as far as told
        self._viewed = False  # whether `after` has been asked for a view, and will be again
        self._held: set[int] = set()  # in a view: those that count with an earlier score
        self._views: OrderedDict[int, Population] = OrderedDict()  # by round; the last used is last

    @classmethod
    def of(cls, members: Sequence[Member]) -> Population:
        """Return `members` itself if it is a population, else a population of them."""
        return members if isinstance(members, cls) else cls(members)

    def update(self, *members: Member) -> None:
        """Put the newer states of members, or new ones, in their places.

        Args:
            members: in the order in which they reported; all reports, where views of rounds are to
                stay up to date.
        """
        if len(members) * _SORTS_FROM > len(self._members):
            self._update_many(members)
            return
        for member in members:
            if self._viewed:
                self._update_views(member)
            old = self._members.get(member.id)
            self._note_before(member, old)
            self._put(member, old)
            self._last_round = max(self._last_round, member.round)
            self._n_at[member.round] += 1
            if old is not None:
                self._n_at[old.round] -= 1
                if not self._n_at[old.round]:
                    del self._n_at[old.round]
                    self._views.pop(old.round, None)  # nobody is left that could ask for it

    def _update_many(self, members: Sequence[Member]) -> None:
        self._views.clear()  # made anew when asked for: cheaper than to let them follow so many
        for member in members:
            old = self._members.get(member.id)
            self._note_before(member, old)
            self._put(member, old)
        self._n_at = Counter(m.round for m in self._members.values())
        self._last_round = max(self._n_at, default=-1)

    def after(self, round: int) -> Population:
        """Return the members as they are compared by one that has just finished a round.

        Those that are a round ahead count with the lower of their last two scores: else a worker
        that comes late in a round would copy whoever has trained for a round more, and age would be
        bred instead of hyperparameters. A copy takes their newest state all the same, which
        `round`, `job` and `hyperparameters` of a member tell and which is no worse than that.
        All others count with their newest score, also those that are further ahead: to lag behind
        by so much is a reason to copy.
        """
        if self._last_round <= round:
            return self
        self._viewed = True
        view = self._views.get(round)
        if view is not None:
            self._views.move_to_end(round)
            return view
        ahead = [member for member in self._members.values() if member.round == round + 1]
        if not all(member.id in self._before for member in ahead):  # there from the beginning
            scores = self.history.round_scores(round)
            self._before.update({member.id: scores.get(member.id) for member in ahead})
        held = {m.id: _scored(m, s) for m in ahead if _gained(s := self._before[m.id], m)}
        view = Population((self._members | held).values())
        view._held.update(held)
        return self._keep_view(round, view)

    def held_back(self, member: int) -> bool:
        """Return whether a member counts with what it had scored before its newest job."""
        return member in self._held

    def _keep_view(self, round: int, view: Population) -> Population:
        view.history = _HistoryAfter(self.history, round, view._held)
        view._last_round = round  # it is what it is after that round
        self._views[round] = view
        if len(self._views) > _VIEWS:
            self._views.popitem(last=False)
        return view

    def _update_views(self, member: Member) -> None:
        """Let the views know the newer state of a member, before the population itself does."""
        if member.round > self._last_round >= 0:
            # The first to go on: all are as they are compared after the round that was the last.
            view = Population()
            view._members, view._order = dict(self._members), self._order
            view._keys, view._failed = list(self._healthy), list(self._failed)
            self._keep_view(self._last_round, view)
        for round, view in tuple(self._views.items()):
            old = view._members.get(member.id)
            view._held.discard(member.id)
            view._asked = 0  # also where all keep their ranks: each decision asks for one
            if member.round != round + 1:
                view._put(member, old)
            elif old is None or old.round != round:
                del self._views[round]  # what it had scored before is not known here
            elif _gained(old.score, member):
                view._held.add(member.id)
                view._members[member.id] = _scored(member, old.score)
            else:
                view._put(member, old)

    def _note_before(self, member: Member, old: Member | None) -> None:
        if old is not None and old.round == member.round - 1:
            self._before[member.id] = old.score
        else:
            self._before.pop(member.id, None)

    def _put(self, member: Member, old: Member | None) -> None:
        if old is None:
            self._order = None
        self._ranks, self._asked = None, 0
        self._members[member.id] = member
        self._moved.setdefault(member.id, old)

    @property
    def _healthy(self) -> list[tuple[float, int]]:
        """Of each healthy member what it is ranked by, once all are in their places.

        Who has changed is put there when a rank is asked for: a few one by one, each for O(log N)
        comparisons; many are sorted together.
        """
        if self._moved:
            few = len(self._moved) * _SORTS_FROM <= len(self._members)
            (self._move if few else self._sort)(self._moved)
            self._moved = {}
        return self._keys

    def _move(self, moved: Mapping[int, Member | None]) -> None:
        for id, old in moved.items():
            if old is not None and old.score is not None:
                del self._keys[bisect_left(self._keys, (-old.score, id))]
            elif old is not None:
                del self._failed[bisect_left(self._failed, id)]
            score = self._members[id].score
            if score is not None:
                insort(self._keys, (-score, id))
            else:
                insort(self._failed, id)

    def _sort(self, moved: Mapping[int, Member | None]) -> None:
        new = [self._members[id] for id in moved]
        keys = [key for key in self._keys if key[1] not in moved]
        failed = [id for id in self._failed if id not in moved]
        self._keys = sorted(keys + [(-m.score, m.id) for m in new if m.score is not None])
        self._failed = sorted(failed + [m.id for m in new if m.score is None])

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
        healthy = self._healthy
        if self._asked == _MANY:
            ranked = chain((id for _, id in healthy), self._failed)
            self._ranks = {id: rank for rank, id in enumerate(ranked)}
        score = self._members[member.id].score
        if score is None:
            return len(healthy) + bisect_left(self._failed, member.id)
        return bisect_left(healthy, (-score, member.id))

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


def _gained(before: float | None, member: Member) -> bool:
    """Return whether the newest score of a member is higher than the one before."""
    return before is not None and member.score is not None and before < member.score


def _scored(member: Member, score: float | None) -> Member:
    return Member(member.id, member.round, score, member.hyperparameters)

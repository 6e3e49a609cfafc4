from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.core.population import NoHistory, Population
from evolvent.core.records import Member
from tests.core.builders import population, seeded

scores = st.one_of(st.none(), st.integers(-3, 3).map(float))
members = st.builds(
    Member,
    id=st.integers(0, 9),
    round=st.integers(0, 5),
    score=scores,
    hyperparameters=st.just({}),
)


def ranks(people: Population) -> list[int]:
    return [m.id for m in sorted(people, key=people.rank)]


def test_the_best_has_rank_0_and_the_failed_come_last() -> None:
    people = population([0.5, None, 0.9, math.nan, -7.0])
    assert ranks(people) == [2, 0, 4, 1, 3]
    assert people.n_healthy == 3
    assert [people.at_rank(rank).id for rank in range(3)] == [2, 0, 4]


def test_equal_scores_rank_by_member_number() -> None:
    assert ranks(population([0.5, 0.7, 0.5, 0.7])) == [1, 3, 0, 2]


@given(st.lists(members, max_size=20), st.lists(members, max_size=20))
def test_updating_gives_what_a_fresh_population_has(old: list[Member], new: list[Member]) -> None:
    newest = {m.id: m for m in old} | {m.id: m for m in new}
    updated = Population({m.id: m for m in old}.values())
    for member in new:
        updated.update(member)
    fresh = Population(newest.values())
    assert list(updated) == list(fresh) == [newest[i] for i in sorted(newest)]
    assert ranks(updated) == ranks(fresh)
    assert updated.n_healthy == fresh.n_healthy == sum(not m.failed for m in newest.values())
    assert updated[:] == list(fresh)


@given(st.lists(members, max_size=20), st.lists(members, max_size=20, unique_by=lambda m: m.id))
def test_updating_many_at_once_gives_what_one_by_one_gives(
    old: list[Member], new: list[Member]
) -> None:
    together, one_by_one = Population(old), Population(old)
    together.update(*new)
    for member in new:
        one_by_one.update(member)
    assert list(together) == list(one_by_one)
    assert ranks(together) == ranks(one_by_one)


@given(st.lists(members, min_size=1, unique_by=lambda m: m.id), st.integers(0, 4).map(float))
def test_those_above_are_counted_by_score_and_gap(people: list[Member], gap: float) -> None:
    me = people[0]
    above = [
        m
        for m in people
        if m.score is not None
        and (me.score is None or (m.score > me.score and m.score - me.score >= gap))
    ]
    assert Population(people).n_above(me, gap=gap) == len(above)


def test_ranks_are_the_same_however_often_they_are_asked_for() -> None:
    people = population([float(score) for score in range(19)])
    people.update(Member(19, 0, None))
    expected = [*reversed(range(19)), 19]
    assert [ranks(people) for _ in range(3)] == [expected] * 3
    people.update(Member(0, 1, 99.0))
    assert ranks(people) == [0, *reversed(range(1, 19)), 19]


class Rounds(NoHistory):
    """A log: by member, what its jobs scored, round by round."""

    def __init__(self) -> None:
        self.scored: dict[int, list[float | None]] = {}

    def report(self, member: int, score: float | None) -> Member:
        scored = self.scored.setdefault(member, [])
        scored.append(score)
        return Member(member, len(scored) - 1, score, {"round": len(scored) - 1})

    def round_scores(self, round: int) -> dict[int, float | None]:
        return {id: scored[round] for id, scored in self.scored.items() if len(scored) > round}

    def of(self, id: int, round: int) -> float | None:
        before, newest = self.scored[id][round : round + 2]
        return newest if before is None or newest is None else min(before, newest)

    def compared(self, round: int) -> list[tuple[int, int, float | None]]:
        """Return the members as they are compared after a round: number, newest round, score."""
        return [
            (id, len(of) - 1, self.of(id, round) if len(of) == round + 2 else of[-1])
            for id, of in sorted(self.scored.items())
        ]


@given(st.lists(st.lists(st.tuples(st.integers(0, 6), scores), max_size=8), max_size=20), st.data())
def test_who_is_a_round_ahead_counts_with_the_worse_of_two(
    reports: list[list[tuple[int, float | None]]], data: st.DataObject
) -> None:
    """However reports come, in ones or many at once, and whenever the views are asked for."""
    log = Rounds()
    people = Population((), log)
    for batch in reports:
        people.update(*(log.report(member, score) for member, score in batch))
        last = max(map(len, log.scored.values()), default=0)
        for round in data.draw(st.sets(st.integers(0, last))):
            view = people.after(round)
            assert [(m.id, m.round, m.score) for m in view] == log.compared(round)
            assert ranks(view) == ranks(Population(view))
            assert [m.id for m in view if view.held_back(m.id)] == [
                m.id for m in view if m.score != log.scored[m.id][-1]
            ]
            assert view.n_healthy == sum(not m.failed for m in view)
            assert all(m.hyperparameters == {"round": m.round} for m in view)


def test_who_is_a_round_ahead_is_copied_as_it_is_and_who_is_further_counts_so() -> None:
    log = Rounds()
    people = Population([log.report(member, 0.1 * member) for member in range(4)], log)
    assert people.after(0) is people
    people.update(log.report(0, 9.0))
    people.update(log.report(3, None))
    assert ranks(people) == [0, 2, 1, 3]
    view = people.after(0)
    assert ranks(view) == [2, 1, 0, 3]
    assert (view.member(0).score, view.member(0).job) == (0.0, "m0r1")
    assert view.member(3).failed
    assert view.after(0) is view
    people.update(log.report(0, 5.0))
    assert ranks(people.after(0)) == [0, 2, 1, 3]
    assert ranks(people.after(1)) == [0, 2, 1, 3]
    assert people.after(1).member(0).score == 5.0
    assert not people.after(1).held_back(0)
    people.update(log.report(0, 6.0))
    assert (people.after(2).member(0).score, people.after(2).held_back(0)) == (5.0, True)


def test_the_log_is_read_once_and_then_followed() -> None:
    asked = []

    class Asked(Rounds):
        def round_scores(self, round: int) -> dict[int, float | None]:
            asked.append(round)
            return super().round_scores(round)

    log = Asked()
    for member in (0, 0, 1):
        log.report(member, 0.5)
    people = Population([Member(0, 1, 0.5), Member(1, 0, 0.5)], log)
    people.after(0)
    assert asked == [0]
    people.update(*(log.report(member, 0.5) for member in range(1, 9)))
    for round in range(1, 9):
        for member in range(9):
            people.after(round - 1)
            people.update(log.report(member, float(round * member)))
    assert asked == [0]


def test_more_rounds_than_views_are_kept() -> None:
    log = Rounds()
    people = Population([log.report(member, float(member)) for member in range(9)], log)
    for round in range(30):
        people.update(log.report(0, 1.0 + round))
        views = [people.after(r) for r in range(round + 1)]
        assert [view.member(0).score for view in views] == [*([1.0 + round] * round), float(round)]


def test_a_lineage_is_followed_from_the_round_that_is_compared() -> None:
    class Asked(Rounds):
        def scores(self, member: int, window: int, *, round: int | None = None) -> tuple[Any, ...]:
            return member, window, round

    log = Asked()
    people = Population([log.report(*job) for job in enumerate([0.5, 0.5, 0.5])], log)
    people.update(*(log.report(*job) for job in ((1, 0.6), (1, 0.7), (2, 0.6))))
    assert people.history.scores(1, 5) == (1, 5, None)
    assert people.after(0).history.scores(1, 5) == (1, 5, None)
    assert people.after(0).history.scores(2, 5) == (2, 5, 0)
    assert people.after(1).history.scores(1, 5) == (1, 5, 1)
    assert people.after(1).history.scores(1, 5, round=0) == (1, 5, 0)
    assert people.after(1).history.jobs() == ()


def test_a_population_is_a_sequence_of_members() -> None:
    people = population([0.1, 0.2, 0.3])
    assert len(people) == 3
    assert people[0].id == 0
    assert people[-1].score == 0.3
    assert [m.id for m in people[1:]] == [1, 2]
    assert people[1] in people
    assert Member(1, 4, 0.7) not in people
    assert "other" not in people
    assert Population.of(people) is people
    assert ranks(Population.of(list(people))) == [2, 1, 0]


def test_a_new_member_joins_at_its_number() -> None:
    people = population([0.1, 0.2])
    assert people[1].id == 1
    people.update(Member(7, 0, 0.9))
    people.update(Member(5, 0, None))
    assert [m.id for m in people] == [0, 1, 5, 7]
    assert people[2].id == 5
    assert ranks(people) == [7, 1, 0, 5]


def drawn(people: Population, me: int, **limits: int) -> Counter[int | None]:
    found = (people.draw_donor(people.member(me), rng=seeded(s), **limits) for s in range(3000))
    return Counter(None if donor is None else donor.id for donor in found)


def test_donors_are_drawn_evenly_among_the_healthy() -> None:
    found = drawn(population([0.1, 0.2, 0.3, None, 0.5]), 0)
    assert set(found) == {1, 2, 4}
    assert all(abs(n - 1000) < 4 * math.sqrt(3000 * 2 / 9) for n in found.values())


def test_donors_can_be_drawn_from_the_best_ranks_only() -> None:
    assert set(drawn(population([0.1, 0.2, 0.3, 0.4]), 0, best=2)) == {2, 3}


@pytest.mark.parametrize("best", [None, 0, 1])
def test_without_a_donor_none_is_drawn(best: int | None) -> None:
    people = population([0.9, None, None])
    assert people.draw_donor(people.member(0), rng=seeded(0), best=best) is None
    assert population([None]).draw_donor(people.member(0), rng=seeded(0)) is None


def test_a_population_made_by_hand_has_no_history() -> None:
    people = population([0.1])
    assert isinstance(people.history, NoHistory)
    assert people.history.scores(0, 10) == ()
    assert people.history.jobs() == ()

from __future__ import annotations

from typing import Any

import pytest

from evolvent.core.algorithms import PBT, RandomSearch
from evolvent.core.distributions import LogUniform, Uniform
from evolvent.core.exploit import CopyBest, NoExploit
from evolvent.core.explore import Gaussian, NoExplore, Resample
from evolvent.core.heads import (
    Head,
    HeadState,
    decided_head,
    first_head,
    first_heads,
    next_head,
    round_heads,
)
from evolvent.core.population import Population
from evolvent.core.records import Cause, JobId
from evolvent.core.space import Space
from tests.core.builders import population, seeded, study


def after(me: int, people: Population, **settings: Any) -> Head:
    member = people.member(me)
    parent = JobId(me, member.round - 1)
    return next_head(study(**settings), member, parent=parent)


def decided(me: int, people: Population, **settings: Any) -> Head:
    member = people.member(me)
    parent = JobId(me, member.round - 1)
    return decided_head(study(**settings), member, parent=parent, population=people)


def test_nothing_is_decided_when_a_round_ends() -> None:
    head = after(0, population([0.1, 0.2, 0.3, 0.9]))
    assert (head.state, head.cause) == (HeadState.QUEUED, Cause.UNDECIDED)
    assert (head.round, head.parent, head.hyperparameters) == (5, JobId(0, 4), {"lr": 0.1})


def test_members_begin_with_values_given_by_hand_or_drawn() -> None:
    space = Space.of({"lr": Uniform(0, 1), "momentum": Uniform(0, 1)})
    record = study(space=space, initial=({"lr": 0.5, "momentum": 0.9}, {"lr": 0.25}, {}))
    heads = first_heads(record)
    assert [h.reason for h in heads] == [
        "given by hand",
        "given by hand: lr; the rest drawn from the space",
        "drawn from the space",
        "drawn from the space",
    ]
    assert [h.cause for h in heads] == ["given", "given_in_part", "drawn", "drawn"]
    assert heads[0].hyperparameters == {"lr": 0.5, "momentum": 0.9}
    assert heads[1].hyperparameters["lr"] == 0.25
    assert heads[2].hyperparameters != heads[3].hyperparameters
    assert {(h.round, h.state, h.parent) for h in heads} == {(0, HeadState.QUEUED, None)}
    assert [h.member for h in heads] == [0, 1, 2, 3]


def test_what_a_member_is_drawn_does_not_depend_on_what_is_given() -> None:
    space = Space.of({"lr": Uniform(0, 1), "momentum": Uniform(0, 1)})
    drawn = first_head(study(space=space), 2)
    given = first_head(study(space=space), 2, {"lr": 0.5})
    assert given.hyperparameters["momentum"] == drawn.hyperparameters["momentum"]


def test_a_good_member_goes_on_from_its_own_job() -> None:
    head = decided(3, population([0.1, 0.2, 0.3, 0.9]))
    reason = "rank 1 of 4: goes on"
    assert head == Head(3, 5, HeadState.QUEUED, {"lr": 0.1}, JobId(3, 4), reason, Cause.KEPT)


def test_a_bad_member_goes_on_from_the_job_of_a_good_one() -> None:
    people = population([0.1, 0.2, 0.3, 0.9], hyperparameters=lambda i: {"lr": i / 10})
    head = decided(0, people, algorithm=PBT(explore=NoExplore()))
    assert head.parent == JobId(3, 4)
    assert head.hyperparameters == {"lr": 0.3}
    assert head.state is HeadState.QUEUED
    assert head.reason == "score 0.1 ranks 4 of 4: copied member 3 (0.9, rank 1)"


def test_a_kept_member_may_change_its_hyperparameters() -> None:
    head = decided(0, population([0.1]), algorithm=PBT(NoExploit(), Gaussian(0.1)))
    assert head.parent == JobId(0, 4)
    assert head.hyperparameters["lr"] != 0.1


def test_a_failed_member_waits_for_a_donor_and_then_copies() -> None:
    for alone in (after(0, population([None, None])), decided(0, population([None, None]))):
        assert (alone.state, alone.cause) == (HeadState.WAITING, Cause.UNDECIDED)
        assert (alone.round, alone.parent) == (5, JobId(0, 3))
    revived = decided(0, population([None, 0.5]))
    assert (revived.state, revived.parent) == (HeadState.QUEUED, JobId(1, 4))


def test_a_stopped_member_ends() -> None:
    head = decided(0, population([None, 0.5]), algorithm=RandomSearch())
    assert (head.state, head.reason) == (HeadState.ENDED, "failed; random search copies nobody")


@pytest.mark.parametrize("score", [0.5, None])
def test_a_member_ends_after_its_last_round(score: float | None) -> None:
    head = after(0, population([score, 0.9]), rounds=5)
    assert (head.state, head.round, head.reason) == (HeadState.ENDED, 5, "rounds done")
    assert head.parent == JobId(0, 3 if score is None else 4)


def test_members_of_a_synchronous_study_wait_and_decide_on_one_snapshot() -> None:
    record = study(synchronous=True, algorithm=PBT(CopyBest(), NoExplore()))
    people = population([0.5, 0.5, 0.1])
    waiting = [next_head(record, m, parent=None) for m in people]
    assert {h.state for h in waiting} == {HeadState.WAITING}
    heads = round_heads(record, [(m, m.job) for m in people], population=people)
    # Members 0 and 1 swap: each sees the other as it was before any of them copied.
    assert [h.parent for h in heads] == [JobId(1, 4), JobId(0, 4), JobId(0, 4)]


def test_decisions_of_a_study_depend_on_its_seed_only() -> None:
    people = population([0.1, 0.9])
    heads = [
        decided(0, people, seed=seed, algorithm=PBT(explore=Gaussian(0.1))) for seed in (1, 1, 2)
    ]
    assert heads[0] == heads[1]
    assert heads[0].hyperparameters != heads[2].hyperparameters


def test_members_start_from_the_initial_distribution_and_move_in_the_whole_one() -> None:
    space = Space.of({"lr": LogUniform(1e-5, 1.0, initial=LogUniform(1e-3, 1e-2)), "fixed": 3})
    started = [
        head.hyperparameters["lr"] for head in first_heads(study(space=space, population=50))
    ]
    assert all(1e-3 <= lr <= 1e-2 for lr in started)  # type: ignore[operator]
    assert len(set(started)) == 50
    assert first_head(study(space=space), 9, {"lr": 0.5}).hyperparameters["lr"] == 0.5
    anew = [Resample(1.0)({"lr": 1e-3, "fixed": 3}, space, rng=seeded(i))["lr"] for i in range(50)]
    assert any(lr < 1e-3 for lr in anew)  # type: ignore[operator]
    assert any(lr > 1e-2 for lr in anew)  # type: ignore[operator]

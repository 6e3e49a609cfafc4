from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.core.algorithms import PBT, RandomSearch, SmallPopulation
from evolvent.core.distributions import Choice, IntUniform, LogUniform, Ordinal, Uniform
from evolvent.core.exploit import BinaryTournament, CopyBest, NoExploit, Truncation, TTest
from evolvent.core.explore import Gaussian, NoExplore, Perturb, Resample, Shift
from evolvent.core.population import Population
from evolvent.core.records import Copy, Decision, Keep, Member, Stop
from evolvent.core.rng import deferred
from evolvent.core.space import Space
from evolvent.errors import ConfigError
from tests.core.builders import population, seeded

SPACE = Space.of({"lr": Uniform(0.0, 1.0), "width": IntUniform(1, 100)})
SPACE_WITHOUT_ZERO = Space.of({"lr": LogUniform(0.01, 1.0)})
TWO = [0.1, 0.9]


def decide(algorithm: Any, me: int, people: Population, *, seed: int = 0) -> Decision:
    decision: Decision = algorithm.decide(people.member(me), people, space=SPACE, rng=seeded(seed))
    return decision


def mine(i: int) -> dict[str, Any]:
    """Member 0 has lr 0.2 and width 10, member 1 lr 0.4 and width 20."""
    return {"lr": 0.2 * (i + 1), "width": 10 * (i + 1)}


def two(*scores: float | None) -> Population:
    return population(scores or TWO, hyperparameters=mine)


def test_a_copy_takes_weights_and_hyperparameters_and_explores_them() -> None:
    decision = decide(PBT(explore=Perturb(factors=(2.0,))), 0, two())
    assert decision == Copy(
        1,
        {"lr": 0.8, "width": 40},
        "score 0.1 ranks 2 of 2: copied member 1 (0.9, rank 1), lr 0.4 -> 0.8, width 20 -> 40",
    )


def test_outside_of_a_study_the_default_takes_the_steps_of_20_rounds() -> None:
    written = PBT(Truncation(0.25), [Perturb(factors=(0.715, 1.399)), Resample(0.125)])
    assert PBT().for_rounds(20) == written != PBT()
    for seed in range(20):
        assert decide(PBT(), 0, two(), seed=seed) == decide(written, 0, two(), seed=seed)


def test_what_explores_already_takes_no_note_of_rounds() -> None:
    given = PBT(CopyBest(), Perturb(), copies="weights")
    assert given.for_rounds(3) is given
    assert PBT(CopyBest(), copies="weights").for_rounds(3).exploit == CopyBest()
    with pytest.raises(ConfigError, match="rounds: got 0"):
        PBT().for_rounds(0)


def test_the_rule_for_one_hyperparameter_is_that_for_its_interval() -> None:
    space = {"net": {"decay": Uniform(0.5, 0.6)}, "lr": LogUniform(1e-5, 1), "opt": Choice([1, 2])}
    rule = PBT().for_rounds(20, space).explore
    assert PBT(explore={"net": {"decay": rule}}) == PBT(
        explore={"net.decay": [Gaussian(0.112, relative_to="width"), Resample(0.125)]}
    )
    usual = [Perturb(factors=(0.715, 1.399)), Resample(0.125)]
    assert PBT(explore={"lr": [rule]}) == PBT(explore={"lr": [usual]})
    with pytest.raises(ConfigError, match=r"got for opt a strategy for lr, net\.decay only"):
        PBT(explore={"opt": rule})


def test_two_that_are_alike_are_led_apart() -> None:
    people = population([0.5, 0.5], hyperparameters=lambda i: {"lr": 0.0, "width": 10})
    found = [decide(PBT(), 1, people, seed=seed) for seed in range(40)]
    assert all(isinstance(decision, Copy) and decision.donor == 0 for decision in found)
    assert any(decision.hyperparameters["lr"] for decision in found)  # zero is no trap


def test_without_a_copy_nothing_is_explored() -> None:
    assert decide(PBT(), 1, two()) == Keep("rank 1 of 2: goes on")


def test_weights_alone_leave_the_own_hyperparameters_to_be_explored() -> None:
    decision = decide(PBT(explore=Perturb(factors=(2.0,)), copies="weights"), 0, two())
    assert decision == Copy(
        1,
        {"lr": 0.4, "width": 20},
        "score 0.1 ranks 2 of 2: copied the weights of member 1 (0.9, rank 1), "
        "lr 0.2 -> 0.4, width 10 -> 20",
    )


def test_hyperparameters_alone_leave_the_own_weights() -> None:
    decision = decide(PBT(explore=Perturb(factors=(2.0,)), copies="hyperparameters"), 0, two())
    assert isinstance(decision, Keep)
    assert decision.hyperparameters == {"lr": 0.8, "width": 40}
    assert "took the hyperparameters of member 1" in decision.reason


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        ("both", {"lr": 0.8, "width": 20}),
        ("weights", {"lr": 0.4, "width": 20}),
        ("hyperparameters", {"lr": 0.8, "width": 10}),
    ],
)
def test_static_hyperparameters_go_with_the_weights(copies: Any, expected: Any) -> None:
    algorithm = PBT(explore={"lr": Perturb(factors=(2.0,))}, copies=copies)
    decision = decide(algorithm, 0, two())
    assert isinstance(decision, (Copy, Keep))
    assert decision.hyperparameters == expected


@pytest.mark.parametrize(
    ("copies", "kinds"), [("both", "aa"), ("weights", "ab"), ("hyperparameters", "ba")]
)
@pytest.mark.parametrize("for_all", [True, False])
def test_a_choice_goes_with_the_weights_unless_it_is_explored(
    copies: Any, kinds: str, for_all: bool
) -> None:
    space = Space.of({"lr": Uniform(0, 1), "kind": Choice(["a", "b"])})
    people = population([0.1, 0.9], hyperparameters=lambda i: {"lr": 0.2, "kind": "ba"[i]})
    static, explored = kinds
    # A resampling as unlikely as this does nothing: what is seen is what exploring starts from.
    explore = Perturb() if for_all else {"kind": Resample(1e-12)}
    decision = PBT(explore=explore, copies=copies).decide(
        people.member(0), people, space=space, rng=seeded(0)
    )
    assert isinstance(decision, (Copy, Keep))
    assert decision.hyperparameters is not None
    assert decision.hyperparameters["kind"] == (static if for_all else explored)


@pytest.mark.parametrize("copies", ["both", "hyperparameters"])
def test_a_failed_member_takes_the_weights_in_any_case(copies: Any) -> None:
    decision = decide(PBT(explore=NoExplore(), copies=copies), 0, two(None, 0.9))
    assert decision == Copy(1, mine(1), "failed: copied member 1 (0.9, rank 1)")


def test_a_failed_member_without_a_donor_waits() -> None:
    assert decide(PBT(), 0, two(None, None)) == Keep("failed: waits for a healthy donor")


def test_without_exploit_everybody_explores_its_own_values() -> None:
    decision = decide(PBT(NoExploit(), Perturb(factors=(2.0,))), 1, two())
    assert decision == Keep(
        "copies nobody: explores, lr 0.4 -> 0.8, width 20 -> 40", {"lr": 0.8, "width": 40}
    )


def test_members_that_do_not_copy_can_explore_too() -> None:
    doubling = PBT(explore=Perturb(factors=(2.0,)), explore_all=True)
    assert decide(doubling, 1, two()) == Keep(
        "rank 1 of 2: explores, lr 0.4 -> 0.8, width 20 -> 40", {"lr": 0.8, "width": 40}
    )
    assert decide(doubling, 0, two()) == decide(replace(doubling, explore_all=False), 0, two())
    only_lr = replace(doubling, explore={"lr": Perturb(factors=(2.0,))})
    assert decide(only_lr, 1, two()) == Keep(
        "rank 1 of 2: explores, lr 0.4 -> 0.8", {"lr": 0.8, "width": 20}
    )
    still = replace(doubling, explore=NoExplore())
    assert decide(still, 1, two()) == Keep("rank 1 of 2: goes on")


def test_a_failed_member_waits_where_all_explore() -> None:
    algorithm = PBT(explore=Perturb(), explore_all=True)
    assert decide(algorithm, 0, two(None, None)) == Keep("failed: waits for a healthy donor")


def test_without_exploit_and_explore_it_is_a_grid_search() -> None:
    assert decide(PBT(NoExploit(), NoExplore()), 0, two()) == Keep("copies nobody: goes on")


def test_without_exploit_a_failed_member_stops() -> None:
    assert decide(PBT(NoExploit()), 0, two(None, 0.9)) == Stop(
        "failed; without exploit it copies nobody"
    )


def test_random_search_keeps_everything_and_stops_the_failed() -> None:
    RandomSearch().validate(SPACE, 4)
    assert decide(RandomSearch(), 0, two()) == Keep("random search keeps its hyperparameters")
    assert decide(RandomSearch(), 0, two(None, 0.9)) == Stop("failed; random search copies nobody")


@given(
    st.sampled_from([Truncation(0.5), BinaryTournament(), CopyBest(), TTest(2, 0.5), NoExploit()]),
    st.sampled_from([Perturb(), Gaussian(0.3), [Resample(), Perturb()], {"width": Shift()}]),
    st.sampled_from(["both", "weights", "hyperparameters"]),
    st.booleans(),
    st.lists(st.one_of(st.none(), st.integers(-3, 3).map(float)), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
def test_decisions_depend_on_the_members_but_not_on_their_order(
    exploit: Any,
    explore: Any,
    copies: Any,
    explore_all: bool,
    scores: list[float | None],
    random: Any,
) -> None:
    algorithm = PBT(exploit, explore, copies=copies, explore_all=explore_all)
    people = population(scores, hyperparameters=lambda i: {"lr": i / 20, "width": i + 1})
    shuffled = list(people)
    random.shuffle(shuffled)
    other = Population(shuffled)
    for me in people:
        decision = decide(algorithm, me.id, people)
        assert decision == decide(algorithm, me.id, other)
        if isinstance(decision, Copy):
            assert decision.donor != me.id
            assert people.member(decision.donor).score is not None
        if not isinstance(decision, Stop) and decision.hyperparameters is not None:
            assert SPACE.check(decision.hyperparameters) == decision.hyperparameters
        assert decision.reason


def test_deciding_does_not_change_anything() -> None:
    people = two()
    before = repr(list(people))
    for me in people:
        decide(PBT(CopyBest()), me.id, people)
    assert repr(list(people)) == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PBT(Truncation), "exploit: got <class .* wanted a strategy such as"),
        (lambda: PBT("Truncation"), "exploit: got 'Truncation'"),
        (
            lambda: PBT(Perturb()),
            r"exploit: got Perturb\(.* wanted a strategy such as Truncation\(0.25\); .*explore=",
        ),
        (lambda: PBT(explore=Truncation()), r"explore: got Trunc.*whom to copy goes into exploit="),
        (lambda: PBT(explore={"lr": Truncation()}), r"explore: got Trunc.*\) for lr, wanted"),
        (lambda: PBT(explore="Perturb"), "explore: got 'Perturb', wanted a strategy such as"),
        (lambda: PBT(copies="all"), "copies: got 'all', wanted 'both' or 'weights' or"),
    ],
)
def test_bad_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_strategy_that_does_not_suit_the_space_is_refused_before_work_starts() -> None:
    with pytest.raises(ConfigError, match="explore: 'momentum' is not in the space"):
        PBT(explore={"momentum": Perturb()}).validate(SPACE, 4)
    with pytest.raises(ConfigError, match="Shift cannot move lr, a LogUniform"):
        PBT(explore=Shift()).validate(Space({"lr": LogUniform(0.1, 1)}), 4)


def test_as_in_ray_a_copy_is_drawn_anew_or_multiplied_and_never_both() -> None:
    space = Space.of(
        {"lr": Uniform(0, 10), "width": Ordinal([16, 32, 64]), "kind": Choice(["a", "b"])}
    )
    start = {"lr": 5.0, "width": 32, "kind": "a"}
    explore: Any = PBT.ray().explore
    found = [explore(start, space, rng=seeded(seed)) for seed in range(800)]
    multiplied = [values["lr"] in (4.0, 6.0) for values in found]
    shifted = [values["width"] != 32 for values in found]
    # Of those drawn anew, a third get the width back that they had, half the kind.
    for share, expected in (
        (np.mean(multiplied), 0.75),
        (np.mean(shifted), 0.75 + 0.25 * 2 / 3),
        (np.mean([values["kind"] == "b" for values in found]), 0.125),
    ):
        assert share == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize(
    ("exploit", "members", "warned"),
    [
        (Truncation(), 2, True),
        (Truncation(0.5), 3, True),
        (Truncation(), 4, False),
        (BinaryTournament(), 2, False),
    ],
)
def test_truncation_of_two_or_three_members_is_warned_of(
    exploit: Any, members: int, warned: bool
) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        PBT(exploit).validate(SPACE_WITHOUT_ZERO, members)
    assert [w.category for w in seen] == [SmallPopulation] * warned
    assert all(
        f"a population of {members} under Truncation has one donor" in str(w.message)
        and "use BinaryTournament(), or a larger population" in str(w.message)
        for w in seen
    )


def test_a_population_of_one_is_warned_of_unless_it_explores_by_itself() -> None:
    with pytest.warns(SmallPopulation, match="a population of 1 has nobody to copy"):
        PBT(BinaryTournament()).validate(SPACE_WITHOUT_ZERO, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PBT(NoExploit()).validate(SPACE_WITHOUT_ZERO, 1)
        PBT(BinaryTournament(), explore_all=True).validate(SPACE_WITHOUT_ZERO, 1)


def test_most_decisions_of_truncation_draw_nothing() -> None:
    people = population([float(i) for i in range(10)], hyperparameters=mine)
    for me in people:
        rng = deferred(0, "decide", me.id, me.round)
        PBT().decide(me, people, space=SPACE, rng=rng)
        drew = object.__getattribute__(rng, "_generator") is not None
        assert drew is (me.id < 2)


def test_a_newcomer_is_a_donor_like_any_other() -> None:
    people = two()
    people.update(Member(7, 0, 5.0, mine(7) | {"lr": 0.5}))
    decision = decide(PBT(CopyBest(), NoExplore()), 0, people)
    assert isinstance(decision, Copy)
    assert decision.donor == 7

"""Diversity: founders and spread, round by round, and when to warn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import evolvent as ev
from evolvent.analysis.lineage.diversity import Diversity
from evolvent.core.heads import first_head, round_heads
from evolvent.core.population import Population
from evolvent.core.records import Member
from evolvent.core.space import Space
from evolvent.store import open_store
from tests.analysis.builders import log_of
from tests.contract.crew import Crew
from tests.settings import study_record


def lockstep(
    rounds: int, *, copies: bool, values: dict[str, list[Any]] | None = None, **changes: Any
) -> Diversity:
    """Return the diversity of four members; with `copies` all start round 1 from member 0.

    Args:
        rounds: how many there are.
        copies: as above.
        values: of the members in round 0; from round 1 on all have the first.
        changes: settings of the study.
    """
    jobs, hyperparameters = {}, {}
    for r in range(rounds):
        for m in range(4):
            donor = 0 if copies and r == 1 else m
            jobs[f"m{m}r{r}"] = f"m{donor}r{r - 1}" if r else ""
            given = {name: row[0 if r else m] for name, row in (values or {}).items()}
            hyperparameters[f"m{m}r{r}"] = given
    settings = {"rounds": rounds, **changes}
    return Diversity.of(log_of(jobs, hyperparameters=hyperparameters, **settings))


def test_founders_and_ancestors_are_counted_by_round() -> None:
    diversity = lockstep(3, copies=True)
    assert list(diversity.founders) == [4, 1, 1]
    assert list(diversity.ancestors) == [1, 4, 4]
    assert list(diversity.members) == [4, 4, 4]


@pytest.mark.parametrize(
    ("distribution", "values", "spread"),
    [
        (ev.Uniform(0, 10), [0.0, 10.0, 0.0, 10.0], 0.5),
        (ev.IntUniform(0, 4), [1, 1, 3, 3], 0.25),
        (ev.LogUniform(1e-4, 1), [1e-4, 1.0, 1e-4, 1.0], 0.5),
        (ev.LogIntUniform(1, 100), [1, 100, 10, 10], np.sqrt(0.125)),
        (ev.ReverseLogUniform(0.9, 0.999), [0.9, 0.999, 0.9, 0.999], 0.5),
        (ev.Uniform(0, 1e300), [0.0, 1e300, 0.0, 1e300], 0.5),
        (ev.Normal(0, 2), [-2.0, 2.0, -2.0, 2.0], 1.0),
        (ev.Choice(("a", "b", "c")), ["a", "b", "a", "a"], 0.5),
        (ev.Choice((True, False)), [True, True, True, True], 0.0),
        (ev.Ordinal((1, 2, 4, 8, 16)), [1, 2, 4, 8], 0.75),
    ],
)
def test_spread_is_measured_on_the_own_scale(distribution: Any, values: Any, spread: float) -> None:
    space = Space({"x": distribution})
    diversity = lockstep(2, copies=False, values={"x": values}, space=space)
    assert diversity.spread["x"][0] == pytest.approx(spread)
    assert diversity.spread["x"][1] == 0


def test_constants_have_no_spread() -> None:
    space = Space.of({"lr": ev.LogUniform(0.01, 1.0), "momentum": 0.5})
    assert list(lockstep(2, copies=False, space=space).spread) == ["lr"]


VARIED = {"lr": [0.001, 0.01, 0.1, 1.0], "momentum": [0.2, 0.4, 0.6, 0.8]}


def bred(rounds: int, lr: Any, *, copies: bool = True, **more: Any) -> str | None:
    """Return the warning of four members, of which the last copies the first in every round.

    Args:
        rounds: how many there are.
        lr: of member and round, from round 1 on; in round 0 all differ.
        copies: as above; without, all go on.
        more: further arguments of `log_of`.
    """
    jobs, given = {}, {}
    for r in range(rounds):
        for m in range(4):
            donor = 0 if copies and m == 3 else m
            jobs[f"m{m}r{r}"] = f"m{donor}r{r - 1}" if r else ""
            values = {"momentum": 0.5, "lr": lr(m, r)}
            given[f"m{m}r{r}"] = {n: row[m] for n, row in VARIED.items()} if r == 0 else values
    return Diversity.of(log_of(jobs, hyperparameters=given, rounds=rounds, **more)).warning


def test_copies_that_all_train_with_the_same_values_are_warned_of() -> None:
    assert bred(10, lambda m, r: 0.1 * 1.0001**m) == (
        "In rounds 2 to 9 all members trained with the same values (lr, momentum), though 8 copies "
        "were made: nothing is explored any more. Factors further apart, or some Resample, explore "
        "again."
    )


def test_one_founder_is_no_warning_while_copies_are_explored() -> None:
    assert bred(50, lambda m, r: 0.1 if m < 3 else (0.08, 0.12)[r % 2]) is None


def test_steps_that_are_small_beside_the_range_are_steps() -> None:
    assert bred(50, lambda m, r: 1e-9 if m < 3 else 1.2e-9) is None


def test_values_at_a_bound_are_no_accident_after_eight_copies_only() -> None:
    at_the_bound = lambda m, r: 1.2 if m == 3 and r == 1 else 1.0  # noqa: E731 - a value by m, r
    assert bred(9, at_the_bound) is None
    assert bred(10, at_the_bound) is not None


def test_without_copies_there_is_nothing_to_explore() -> None:
    assert bred(50, lambda m, r: 0.1, copies=False) is None


def test_members_that_began_alike_have_lost_nothing() -> None:
    assert lockstep(20, copies=True).warning is None


def climbed(explore: Any, *, population: int, rounds: int) -> Diversity:
    """Return the diversity of members that climb without noise, the faster the nearer lr to .01."""
    study = study_record(
        space=Space({"lr": ev.LogUniform(1e-5, 1.0)}), algorithm=ev.PBT(explore=explore),
        population=population, rounds=rounds, synchronous=True,
    )  # fmt: skip
    parents, given, scores = {}, {}, {"": 0.0}
    heads = [first_head(study, m) for m in range(population)]
    for r in range(rounds):
        reported = []
        for head in heads:
            job, lr = f"m{head.member}r{r}", float(head.hyperparameters["lr"])  # type: ignore[arg-type]
            parents[job], given[job] = str(head.parent or ""), head.hyperparameters
            scores[job] = scores[parents[job]] + np.exp(-((np.log10(lr) + 2) ** 2))
            me = Member(head.member, r, scores[job], head.hyperparameters)
            reported.append((me, head.parent))
        heads = round_heads(study, reported, population=Population(m for m, _ in reported))
    log = log_of(
        parents, hyperparameters=given, scores=scores, space=study.space, population=population
    )
    return Diversity.of(log)


@pytest.mark.parametrize("population", [4, 8, 32])
@pytest.mark.parametrize("rounds", [10, 20, 60])
def test_a_healthy_study_is_not_warned_of_whatever_its_length(rounds: int, population: int) -> None:
    healthy = climbed(ev.Perturb(), population=population, rounds=rounds)
    assert healthy.warning is None
    assert healthy.founders[-1] <= 2 or rounds < 60


@pytest.mark.parametrize("population", [4, 8, 32])
def test_a_study_that_does_not_explore_is_warned_of(population: int) -> None:
    stuck = climbed(ev.Perturb(low=0.9999, high=1.0001), population=population, rounds=60)
    assert "nothing is explored any more" in str(stuck.warning)


def test_a_running_study_is_judged_where_half_of_the_members_are() -> None:
    jobs = {f"m{m}r0": "" for m in range(4)} | {"m0r1": "m0r0", "m0r2": "m0r1"}
    given = {f"m{m}r0": {"lr": lr} for m, lr in enumerate(VARIED["lr"])}
    diversity = Diversity.of(log_of(jobs, hyperparameters=given, rounds=20))
    assert list(diversity.populated) == [True, False, False]
    assert diversity.warning is None
    assert diversity.shown() == [0]


def test_rounds_without_a_healthy_member_have_no_spread() -> None:
    jobs = {"m0r0": "", "m1r0": "", "m0r1": "m0r0"}
    diversity = Diversity.of(log_of(jobs, failed=["m0r1"]))
    assert np.isnan(diversity.spread["lr"][1])
    assert list(diversity.founders) == [2, 0]


def test_a_study_without_jobs_has_no_rounds() -> None:
    diversity = Diversity.of(log_of({}))
    assert len(diversity.round) == 0
    assert str(diversity) == "round  members  founders  ancestors  lr  momentum"


def test_text_shows_at_most_twelve_rounds_with_the_first_and_the_last() -> None:
    lines = str(lockstep(30, copies=False)).splitlines()
    assert len(lines) == 13
    assert lines[0].split() == ["round", "members", "founders", "ancestors", "lr", "momentum"]
    assert [line.split()[0] for line in (lines[1], lines[-1])] == ["0", "29"]


def test_a_result_gives_the_diversity_of_a_store() -> None:
    crew = Crew(open_store("memory://"), algorithm=ev.PBT(), population=4)
    crew.run()
    diversity = ev.load_study("digits", store=crew.store).result().diversity()
    assert len(diversity.round) == 4
    assert diversity.founders[0] == 4

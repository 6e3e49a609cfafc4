"""Diversity: founders and spread, round by round, and when to warn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import evolvent as ev
from evolvent.analysis.lineage.diversity import Diversity
from evolvent.core.space import Space
from evolvent.store import open_store
from tests.analysis.builders import log_of
from tests.contract.crew import Crew


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


def test_one_founder_left_early_is_warned_of() -> None:
    warning = lockstep(8, copies=True).warning
    assert warning is not None
    assert warning.startswith("all members descend from m0r0 since round 1 of 8.")
    assert "More members" in warning


def test_one_founder_left_late_is_how_it_should_be() -> None:
    assert lockstep(4, copies=True).warning is None


def test_a_spread_that_is_gone_is_warned_of() -> None:
    warning = lockstep(4, copies=False, values=VARIED).warning
    assert warning is not None
    assert warning.startswith(
        "as of round 3 the spread of every hyperparameter (lr, momentum) is down to 0% of the "
        "first or less."
    )


def test_a_spread_that_stays_in_one_hyperparameter_is_enough() -> None:
    jobs = {f"m{m}r{r}": f"m{m}r{r - 1}" if r else "" for r in range(4) for m in range(4)}
    given = {
        job: {"lr": VARIED["lr"][int(job[1])], "momentum": 0.2 * int(job[1]) if "r0" in job else 0}
        for job in jobs
    }
    assert Diversity.of(log_of(jobs, hyperparameters=given)).warning is None


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

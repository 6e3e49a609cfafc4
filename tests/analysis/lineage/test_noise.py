"""Noise: told from the first rounds, by those who go on unchanged; never of noiseless scores."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import evolvent as ev
from evolvent.analysis.lineage.diversity import Diversity
from evolvent.analysis.lineage.noise import noise_warning
from evolvent.analysis.log import Log
from tests.analysis.builders import log_of

DRAWN = np.random.default_rng(0).normal(size=(32, 60))


def log(
    score: Callable[[int, int], float], *, members: int = 8, rounds: int = 12, **more: Any
) -> Log:
    """Return members that all go on, with a score of member and round."""
    jobs = {
        f"m{m}r{r}": f"m{m}r{r - 1}" if r else "" for r in range(rounds) for m in range(members)
    }
    scores = {f"m{m}r{r}": score(m, r) for r in range(rounds) for m in range(members)}
    return log_of(jobs, scores=scores, **{"algorithm": ev.PBT(), **more})


def warned(*arguments: Any, **named: Any) -> bool:
    return list(noise_warning(log(*arguments, **named))) != []


@pytest.mark.parametrize(("members", "rounds"), [(4, 20), (8, 9), (32, 8)])
def test_scores_that_are_nothing_but_noise_are_warned_of(members: int, rounds: int) -> None:
    assert warned(lambda m, r: r + DRAWN[m, r], members=members, rounds=rounds)


def test_the_warning_has_the_figures_and_the_cure() -> None:
    [text] = noise_warning(log(lambda m, r: r + 0.05 * DRAWN[m, r], members=32))
    found = re.fullmatch(
        r"Much of what ranks members is noise: in rounds 1 to 5 the accuracy of one that goes on "
        r"unchanged moved by (0\.\d+) up and down by chance, and all members were (0\.\d+) apart "
        r"\(standard deviations\)\. Longer rounds, an evaluation on more data, or an exploit that "
        r"looks at several rounds \(TTest\) help\. The best job may be no more than a lucky score: "
        r'a study that is created with best="mean of 3" chooses it by the mean of three along its '
        r"lineage\.",
        text,
    )
    assert found is not None
    assert [float(x) for x in found.groups()] == pytest.approx([0.05, 0.05], rel=0.15)
    [text_of_means] = noise_warning(log(lambda m, r: r + 0.05 * DRAWN[m, r], best="mean of 3"))
    assert "help." in text_of_means
    assert "lucky" not in text_of_means
    tests = ev.PBT(ev.TTest())
    [of_tests] = noise_warning(log(lambda m, r: r + 0.05 * DRAWN[m, r], algorithm=tests))
    assert "or a lower alpha help." in of_tests
    printed = str(Diversity.of(log(lambda m, r: r + 0.05 * DRAWN[m, r], members=32)))
    assert f"warning: {text}" in printed.replace("\n  ", " ")
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.parametrize(
    "score",
    [
        lambda m, r: (m + 1) * r,  # each at its own speed
        lambda m, r: 1 - 0.9 ** (r * (m + 1)),  # curves that bend, and come together
        lambda m, r: m * r - 0.5 * m * m * r,  # who is last in the beginning overtakes
        lambda m, r: float(m),
        lambda m, r: 0.5,
    ],
    ids=["speeds", "bent", "overtaking", "level", "all alike"],
)
def test_curves_without_noise_are_not_warned_of(score: Any) -> None:
    assert not warned(score, rounds=30)


def test_noise_that_changes_no_rank_is_not_warned_of() -> None:
    assert not warned(lambda m, r: m + DRAWN[m, r])


def test_scores_that_follow_changed_hyperparameters_are_no_noise() -> None:
    jobs = [(m, r) for r in range(20) for m in range(8)]
    given = {f"m{m}r{r}": {"lr": 0.1 + 0.01 * ((m + r) % 2)} for m, r in jobs}
    score = lambda m, r: r + (m + r) % 2  # noqa: E731 - of member and round, as everywhere here
    assert warned(score, rounds=20)
    assert not warned(score, rounds=20, hyperparameters=given)


@pytest.mark.parametrize("algorithm", [ev.RandomSearch(), ev.PBT(ev.NoExploit())])
def test_where_nobody_is_copied_nothing_is_said(algorithm: Any) -> None:
    assert not warned(lambda m, r: DRAWN[m, r], algorithm=algorithm)


def test_a_member_that_has_diverged_hides_no_noise() -> None:
    assert warned(lambda m, r: -1e9 if m == 7 and r < 2 else DRAWN[m, r])


def test_the_first_rounds_tell_and_later_ones_do_not() -> None:
    assert not warned(lambda m, r: (m if r < 20 else 0) + 0.3 * DRAWN[m, r], rounds=60)


@pytest.mark.parametrize(("members", "rounds"), [(2, 10), (8, 3), (1, 20), (8, 0)])
def test_of_a_few_scores_nothing_is_said(members: int, rounds: int) -> None:
    assert not warned(lambda m, r: DRAWN[m, r], members=members, rounds=rounds)

"""The zoo measures what is known: exact optima, and means that others measured.

A mean over seeds may be off by four standard errors and 0.002.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from statistics import mean, median
from typing import Any

import pytest

import evolvent as ev
from _zoo_arms import Cell, arm_of, mode_of, run_arm
from _zoo_simulation import Mode, simulate, study_of
from _zoo_tasks import TASKS, Task, train_quadratic
from evolvent.core.algorithms import Algorithm

SEEDS = 30
HILL_CLIMBER = ev.PBT(ev.CopyBest(), ev.Gaussian(0.1))


def ends(
    task: Task | str, algorithm: Algorithm, population: int, interval: int, *, seeds: int = SEEDS
) -> list[float]:
    found = TASKS[task] if isinstance(task, str) else task
    settings = {"population": population, "interval": interval}
    return [
        simulate(found, study_of(found, algorithm, seed=seed, **settings))[0].best
        for seed in range(seeds)
    ]


def truncation(low: float, high: float, *, fraction: float) -> Algorithm:
    return ev.PBT(ev.Truncation(fraction), ev.Perturb(factors=(low, high)))


def test_grid_of_figure_2_ends_where_it_must():
    grid = ev.PBT(ev.NoExploit(), ev.NoExplore())
    assert ends("fig2", grid, 2, 4, seeds=2) == pytest.approx([0.39 - 0.81 * 0.98**400] * 2)


@pytest.mark.parametrize(
    ("copies", "interval", "expected", "sd"),
    [
        ("both", 4, 1.1962, 0.0038),
        ("weights", 4, 1.1737, 0.0238),
        ("both", 10, 1.142, 0.066),
        ("weights", 10, 1.1713, 0.015),
    ],
)
def test_figure_2(copies: str, interval: int, expected: float, sd: float):
    found = ends("fig2", replace(HILL_CLIMBER, copies=copies), 2, interval, seeds=100)
    assert mean(found) == pytest.approx(expected, abs=4 * sd / 10 + 0.002)
    assert max(found) < 1.2


@pytest.mark.parametrize("interval", [4, 10])
@pytest.mark.parametrize(("mode", "least"), [(Mode(), 1.15), (Mode(1), 1.15), (Mode(2), 0.8)])
def test_default_leaves_the_grid_of_figure_2(mode: Mode, least: float, interval: int):
    """Its two members are alike in score, and each is at 0 with one of its hyperparameters."""
    task, synchronous = TASKS["fig2"], mode.workers is None
    found = {}
    for name, algorithm in (("default", ev.PBT()), ("trapped", ev.PBT(explore=ev.Perturb()))):
        settings = {"population": 2, "interval": interval, "synchronous": synchronous}
        studies = [study_of(task, algorithm, seed=seed, **settings) for seed in range(40)]
        found[name] = [simulate(task, study, mode)[0].best for study in studies]
    assert median(found["default"]) > least
    assert max(found["trapped"]) < 0.391  # what it is without drawing anew


@pytest.mark.parametrize(("population", "expected", "sd"), [(2, 1.161, 0.052), (8, 1.1952, 0.001)])
def test_size_of_a_population(population: int, expected: float, sd: float):
    found = ends(replace(TASKS["toy"], steps=150), HILL_CLIMBER, population, 10)
    assert mean(found) == pytest.approx(expected, abs=4 * sd / math.sqrt(SEEDS) + 0.002)
    assert max(found) <= 1.2 - 1.62 * 0.98**300


@pytest.mark.parametrize(
    ("task", "interval", "expected", "sd"),
    [
        ("plain", 1, 1.1996, 0.0002),
        ("plain", 5, 1.1981, 0.001),
        ("plain", 10, 1.1963, 0.001),
        ("deceptive", 1, 0.981, 0.026),
        ("deceptive", 5, 1.1918, 0.0017),
        ("deceptive", 10, 1.174, 0.014),
    ],
)
def test_greed(task: str, interval: int, expected: float, sd: float):
    found = ends(task, truncation(0.8, 1.25, fraction=0.25), 32, interval, seeds=8)
    assert mean(found) == pytest.approx(expected, abs=4 * sd / math.sqrt(8) + 0.002)


def test_random_search_on_hills():
    assert mean(ends("plain", ev.RandomSearch(), 32, 25)) == pytest.approx(1.1899, abs=0.002)
    assert mean(ends("deceptive", ev.RandomSearch(), 32, 25)) == pytest.approx(1.047, abs=0.005)


@pytest.mark.parametrize(
    ("interval", "expected", "sd"),
    [(5, 0.0642, 0.0043), (10, 0.0539, 0.0069), (25, 0.0553, 0.0098), (50, 0.0699, 0.0113)],
)
def test_noisy_quadratic(interval: int, expected: float, sd: float):
    found = ends("nqm", truncation(0.8, 1.2, fraction=0.2), 20, interval, seeds=10)
    assert -mean(found) == pytest.approx(expected, abs=4 * sd / math.sqrt(10) + 0.001)
    assert max(found) < -0.03373  # the optimum of a learning rate chosen anew at every step


@pytest.mark.parametrize(
    ("exploit", "noise", "expected"),
    [
        (ev.Truncation(0.2), 0.1, 0.0500),
        (ev.Truncation(0.2), 0.5, 0.0477),
        (ev.BinaryTournament(), 0.1, 0.0487),
        (ev.BinaryTournament(), 0.5, 0.0465),
    ],
)
def test_noisy_quadratic_of_which_scores_are_noisy(exploit: Any, noise: float, expected: float):
    """The figures are of means of ten scores a decision."""
    train = partial(train_quadratic, noise=noise / math.sqrt(10))
    task = replace(TASKS["nqm"], train=train)
    found = ends(task, ev.PBT(exploit, ev.Perturb(factors=(0.8, 1.2))), 20, 10, seeds=12)
    assert -mean(found) == pytest.approx(expected, abs=4 * 0.007 / math.sqrt(12) + 0.001)


def test_random_search_on_the_noisy_quadratic():
    found = ends("nqm", ev.RandomSearch(), 20, 50)
    assert -mean(found) == pytest.approx(0.0855, abs=4 * 0.0123 / math.sqrt(SEEDS) + 0.001)


@pytest.mark.parametrize(
    ("task", "interval", "expected"),
    [("nqm", 10, -0.07971), ("plain", 1, 1.19973), ("deceptive", 1, 1.0970)],
)
def test_best_constant(task: str, interval: int, expected: float):
    cell = Cell(task, interval, 4, "sync")
    assert run_arm(TASKS[task], cell, arm_of("constant"), 0).best == pytest.approx(
        expected, abs=0.0005
    )


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("1@newest", 0.0454),
        ("2@newest", 0.0491),
        ("4@newest", 0.0582),
        ("1@report@newest", 0.0929),
        ("1", 0.0579),
    ],
)
def test_deciding_at_the_claim(mode: str, expected: float):
    """The figures of which the moment of decision was chosen; 40 seeds, sd about .06."""
    task, (turns, view) = TASKS["nqm"], mode_of(mode, 8)
    found = []
    for seed in range(40):
        study = study_of(
            task,
            truncation(0.8, 1.2, fraction=0.2),
            population=8,
            interval=10,
            seed=seed,
            synchronous=False,
        )
        found.append(simulate(task, study, turns, view=view)[0].best)
    assert -mean(found) == pytest.approx(expected, abs=0.01)

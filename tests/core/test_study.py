from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from evolvent.core.algorithms import PBT
from evolvent.core.distributions import LogUniform, Ordinal
from evolvent.core.exploit import Truncation, TTest
from evolvent.core.explore import Perturb, Resample, Shift
from evolvent.core.space import Space
from evolvent.core.study import StudyRecord, mean_score
from evolvent.errors import ConfigError
from tests.core.builders import study


def test_a_study_survives_json_exactly() -> None:
    there = study(
        mode="min",
        space=Space.of({"net": {"width": Ordinal([16, 32])}, "lr": LogUniform(1e-5, 1)}),
        algorithm=PBT(
            TTest(5), {"net.width": Shift(), "lr": [Resample(), Perturb(low=0.5, high=2)]}
        ),
        initial=({"lr": 0.1}, {}),
        synchronous=True,
        target=0.01,
    )
    assert StudyRecord.from_json(json.loads(json.dumps(there.to_json()))) == there


def test_what_follows_the_rounds_is_written_out_and_then_stays() -> None:
    default = PBT(copies="weights")
    there = study(algorithm=default, rounds=10)
    explore = [Perturb(factors=(0.622, 1.607)), Resample(0.25)]
    written = PBT(Truncation(0.25), explore, copies="weights")
    assert there.algorithm == there.checked().algorithm == written
    assert replace(there, rounds=50).algorithm == written
    assert replace(there, rounds=50, algorithm=default).algorithm == default.for_rounds(50)
    assert StudyRecord.from_json(there.to_json()).algorithm == written


@pytest.mark.parametrize("algorithm", ["PBT", {"type": "PBT"}])
def test_json_without_strategies_is_the_default_of_the_rounds(algorithm: Any) -> None:
    plain = {**study(rounds=50).to_json(), "algorithm": algorithm}
    read = StudyRecord.from_json(plain)
    assert read.algorithm == PBT(
        Truncation(probability=0.792), [Perturb(factors=(0.809, 1.236)), Resample(0.05)]
    )
    assert read == study(rounds=50)


@pytest.mark.parametrize("rounds", [0, -1, "many", None, 2**31])
def test_a_bad_number_of_rounds_is_told_as_such(rounds: Any) -> None:
    with pytest.raises(ConfigError, match="rounds: got"):
        study(rounds=rounds).checked()


def test_a_metric_to_be_minimised_is_turned_once_and_back() -> None:
    minimise = study(mode="min")
    assert minimise.score(0.25) == -0.25
    assert minimise.score(minimise.score(0.25)) == 0.25
    assert study(mode="max").score(0.25) == 0.25


def test_the_target_is_reached_in_the_direction_of_the_metric() -> None:
    maximise, minimise = study(target=0.9), study(mode="min", target=0.1)
    assert maximise.reached(0.9, 1)
    assert not maximise.reached(0.89, 1)
    assert minimise.reached(-0.1, 1)
    assert not minimise.reached(-0.11, 1)
    assert not maximise.reached(None, 0)
    assert not study().reached(1e9, 1)


def test_the_target_is_reached_by_as_many_scores_as_choose_the_best() -> None:
    there = study(target=0.9, best="mean of 3")
    assert [there.reached(0.95, n) for n in (1, 2, 3)] == [False, False, True]
    assert not there.reached(0.85, 3)


@pytest.mark.parametrize(
    ("best", "window"), [("score", 1), ("mean of 2", 2), ("mean of 10", 10), ("mean of 100", 100)]
)
def test_what_chooses_the_best(best: str, window: int) -> None:
    there = study(best=best).checked()
    assert (there.best, there.best_window) == (best, window)
    assert StudyRecord.from_json(json.loads(json.dumps(there.to_json()))) == there


@pytest.mark.parametrize(
    "best",
    [
        "mean of 1", "mean of 101", "mean of 0", "mean of 03", "mean of 3\n", " mean of 3",
        "mean  of 3", "Mean of 3", "mean of three", "mean of ٣", "mean of -3", "mean of 3.0",
        "mean", "scores", "", None, 3, ["score"],
    ],
)  # fmt: skip
def test_a_bad_way_to_choose_the_best_is_told_as_such(best: Any) -> None:
    wanted = 'best: got .*, wanted "score", or "mean of N" with N from 2 to 100'
    with pytest.raises(ConfigError, match=wanted) as found:
        study(best=best).checked()
    assert found.value.field == "best"


def test_settings_of_an_older_evolvent_choose_by_the_score() -> None:
    plain = study().to_json()
    del plain["best"]
    assert StudyRecord.from_json(plain) == study()


def test_a_mean_is_rounded_once() -> None:
    assert mean_score([0.1, 0.2, 0.3]) == mean_score([0.3, 0.1, 0.2]) == 0.2
    assert mean_score([0.1] * 49) == 0.1
    assert mean_score([1.7e308, 1.7e308]) == 1.7e308
    assert mean_score([0.7]) == 0.7

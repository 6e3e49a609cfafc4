"""Comparisons: at equal compute, over seeds, and honest about noise."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import evolvent as ev
from evolvent.analysis.comparison.compare import compare_logs, curves
from evolvent.analysis.log import Log
from evolvent.errors import ConfigError
from tests.analysis.scored import log_of
from tests.contract.crew import Crew
from tests.examples.loading import load_example

toy = load_example("toy")


def figures(log: Log, **named: Any) -> Any:
    return compare_logs({"a": [log]}, **named).arms[0].seeds[0]


def seeds(name: str, runs: list[list[float]], *, first: int = 0) -> list[Log]:
    return [log_of(f"{name}-{i}", run, seed=first + i) for i, run in enumerate(runs)]


# --- the figures -------------------------------------------------------------------------------


def test_the_best_is_the_best_so_far_at_the_end_and_the_area_its_mean_over_jobs() -> None:
    seed = figures(log_of("a", [1.0, 3.0, 2.0, 5.0]))
    assert seed.values == {"best": 5.0, "area": (1 + 3 + 3 + 5) / 4}
    assert seed.job == "m1r1"


def test_of_a_metric_to_be_minimised_the_least_is_the_best() -> None:
    seed = figures(log_of("a", [4.0, 1.0, 2.0, 0.5], mode="min"))
    assert seed.values == {"best": 0.5, "area": (4 + 1 + 1 + 0.5) / 4}


def test_the_test_metric_is_that_of_the_job_chosen_by_validation() -> None:
    tests = [{"test": 0.9}, {"test": 0.4}, {"test": 0.8}]
    seed = figures(log_of("a", [1.0, 3.0, 2.0], metrics=tests), test="test")
    assert seed.values["test"] == 0.4


def test_a_test_metric_may_be_called_like_a_figure() -> None:
    log = log_of("a", [1.0, 3.0], metrics=[{"best": 0.9, "area": 0.8}, {"best": 0.4, "area": 0.7}])
    own = {"best": 3.0, "area": 2.0}
    assert figures(log, test="best").values == {**own, "metric best": 0.4}
    assert figures(log, test="area").values == {**own, "metric area": 0.7}


def test_a_best_job_without_a_finite_test_metric_is_left_out_and_named() -> None:
    arm = [
        log_of("fine", [1.0], metrics=[{"test": 0.5}]),
        log_of("odd", [1.0], metrics=[{"test": float("inf")}], seed=1),
    ]
    found = compare_logs({"a": arm}, test="test")
    assert found.arms[0].values("test") == [0.5]
    assert "the best job has no finite test, left out: odd" in found.notes


def test_of_equal_scores_the_earlier_round_counts_as_in_the_study() -> None:
    log = log_of("a", [1.0, 1.0, 1.0], metrics=[{"test": 0.1}, {"test": 0.2}, {"test": 0.3}])
    assert figures(log, test="test").values["test"] == 0.1


def of_means(name: str, scores: list[float], **changes: Any) -> Log:
    """Return the log of a study of one member that chooses by the mean of two."""
    crew = Crew(ev.open_store("memory://"), name=name, population=1, rounds=9, **changes)
    for score in scores:
        crew.train(score)
    return Log.read(crew.store, crew.id)


def test_best_is_the_mean_where_a_study_chooses_by_it() -> None:
    noisy = of_means("a", [4.0, 0.0, 1.0, 2.0], best="mean of 2")
    assert figures(noisy).values == {"best": 2.0, "area": (4.0 + 2.0 + 2.0 + 2.0) / 4}
    assert figures(noisy).job == "m0r1"
    plain = of_means("b", [0.0, 3.0, 1.0, 0.0])
    assert figures(plain).values["best"] == 3.0
    both = compare_logs({"a": [noisy], "b": [plain]})
    assert [arm.seeds[0].values["best"] for arm in both.arms] == [2.0, 2.0]
    assert [arm.seeds[0].job for arm in both.arms] == ["m0r1", "m0r2"]
    assert "best accuracy (mean of the last 2)" in str(both)
    assert both.to_json()["window"] == 2
    assert curves({"b": [plain], "a": [noisy]})[0].mean.tolist() == [0.0, 1.5, 2.0, 2.0]


def test_a_failed_job_uses_compute_and_has_no_score() -> None:
    seed = figures(log_of("a", [None, 2.0, None, 4.0]))
    assert (seed.jobs, seed.values["best"]) == (4, 4.0)
    assert seed.values["area"] == (2 + 2 + 2 + 4) / 4  # before its first score, that score


def test_a_study_without_any_score_is_left_out_and_named() -> None:
    found = compare_logs({"a": [log_of("fine", [1.0, 2.0]), log_of("fell", [None, None], seed=1)]})
    assert found.arms[0].values("best") == [2.0]
    assert "left out of the means, no job done: fell" in found.notes
    assert "Note: left out of the means" in str(found)


# --- equal compute -----------------------------------------------------------------------------


def test_unequal_compute_is_said_with_numbers_and_cut_to_what_all_have() -> None:
    found = compare_logs(
        {"a": [log_of("long", [1.0, 2.0, 3.0, 9.0])], "b": [log_of("short", [1.0, 2.0])]}
    )
    assert found.unequal
    assert found.budget == 2
    assert [arm.values("best") for arm in found.arms] == [[2.0], [2.0]]
    text = str(found)
    assert text.startswith("UNEQUAL COMPUTE. Jobs trained: long 4, short 2.\n")
    assert "common budget: the first 2 jobs" in text
    assert found.to_json()["unequal"] is True


def test_equal_compute_is_not_warned_of() -> None:
    found = compare_logs({"a": [log_of("a", [1.0])], "b": [log_of("b", [2.0])]})
    assert not found.unequal
    assert "UNEQUAL" not in str(found)


# --- what may be compared ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "loss"}, r"study 'b' is for 'loss' \(max\), study 'a' for 'accuracy' \(max\)"),
        ({"mode": "min"}, r"study 'b' is for 'accuracy' \(min\)"),
    ],
)
def test_another_metric_or_mode_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compare_logs({"a": [log_of("a", [1.0])], "b": [log_of("b", [1.0], **changes)]})


def test_an_arm_of_unlike_studies_is_refused() -> None:
    unlike = log_of("b", [1.0], population=1, seed=1)
    with pytest.raises(ConfigError, match="arm 'x': study 'b' has another population than 'a'"):
        compare_logs({"x": [log_of("a", [1.0]), unlike]})
    with pytest.raises(ConfigError, match="arm 'x': study 'b' has another population than 'a'"):
        curves({"x": [log_of("a", [1.0]), unlike]})


def test_a_study_without_a_finished_job_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="study 'new' has no finished job yet"):
        compare_logs({"a": [log_of("a", [1.0])], "b": [log_of("new", [])]})


def test_an_unknown_test_metric_is_refused_with_those_there_are() -> None:
    log = log_of("a", [1.0], metrics=[{"loss": 2.0}])
    with pytest.raises(
        ConfigError, match="study 'a' reports no metric 'top5', it has accuracy, lo"
    ):
        compare_logs({"a": [log]}, test="top5")


def test_arms_without_studies_are_refused() -> None:
    with pytest.raises(ConfigError, match="an arm without a study"):
        compare_logs({"a": []})


# --- noise -------------------------------------------------------------------------------------


def test_equal_seeds_are_paired_and_others_are_not() -> None:
    a = seeds("a", [[1.0], [5.0], [9.0]])
    paired = compare_logs({"a": a, "b": seeds("b", [[0.9], [4.88], [8.9]])}).differences[0]
    assert paired.estimate.paired
    assert paired.verdict == "better"
    apart = compare_logs({"a": a, "b": seeds("b", [[0.9], [4.8], [8.9]], first=3)}).differences[0]
    assert not apart.estimate.paired
    assert (apart.verdict, apart.needed is not None) == ("undecided", True)


def test_pairs_are_matched_by_seed_whatever_their_order() -> None:
    a = seeds("a", [[1.0], [5.0], [9.0]])
    b = seeds("b", [[0.9], [4.9], [8.9]])
    best = compare_logs({"a": a, "b": b[::-1]}).differences[0]
    assert best.estimate.value == pytest.approx(0.1)
    assert best.verdict == "better"


def test_one_seed_an_arm_is_told_to_tell_nothing() -> None:
    found = compare_logs({"a": [log_of("a", [1.0])], "b": [log_of("b", [2.0])]})
    assert {d.verdict for d in found.differences} == {"unknown"}
    assert str(found).count("One seed tells nothing about noise") == 1


def test_the_same_seed_twice_is_noted() -> None:
    found = compare_logs({"a": [log_of("a1", [1.0], seed=4), log_of("a2", [1.0], seed=4)]})
    assert any("several studies of seed 4" in note for note in found.notes)


def test_for_a_loss_less_is_better_and_the_test_metric_may_go_the_other_way() -> None:
    def arm(name: str, loss: float, test: float) -> list[Log]:
        return [
            log_of(
                f"{name}{i}", [loss + i / 100], seed=i, mode="min", metrics=[{"acc": test + i / 50}]
            )
            for i in range(3)
        ]

    found = compare_logs({"a": arm("a", 1.0, 0.9), "b": arm("b", 2.0, 0.8)}, test="acc",
                         test_mode="max")  # fmt: skip
    assert {d.figure: d.verdict for d in found.differences} == {
        "best": "better", "area": "better", "acc": "better",
    }  # fmt: skip


def test_seeds_that_all_reach_the_same_say_nothing_about_noise() -> None:
    arms = {arm: [log_of(f"{arm}{i}", [0.5], seed=i) for i in range(3)] for arm in "ab"}
    found = compare_logs(arms)
    assert {d.verdict for d in found.differences} == {"unknown"}
    assert "All seeds of an arm gave the same" in str(found)
    assert "One seed tells nothing" not in str(found)


# --- on the toy of the paper -------------------------------------------------------------------


def toy_arm(store: ev.Store, name: str, algorithm: Any, *, of: range) -> list[Log]:
    logs = []
    for seed in of:
        study = ev.create_study(
            f"{name}-{seed}", metric="Q", mode="max", population=2, rounds=20, seed=seed,
            space={"h0": ev.Uniform(0.0, 1.0), "h1": ev.Uniform(0.0, 1.0), "interval": 10},
            initial=[{"h0": 1.0, "h1": 0.0}, {"h0": 0.0, "h1": 1.0}] if name != "random" else None,
            algorithm=algorithm, synchronous=True, store=store, durability="process",
        )  # fmt: skip
        study.run(toy.train, workers=0, progress=False)
        logs.append(Log.read(store, study.id))
    return logs


@pytest.mark.slow
def test_pbt_is_found_better_than_grid_and_random_search_no_better_than_itself() -> None:
    store = ev.open_store("memory://")
    grid = toy_arm(store, "grid", toy.MODES["grid search"], of=range(3))
    pbt = toy_arm(store, "pbt", toy.MODES["PBT"], of=range(3))
    one = toy_arm(store, "random", ev.RandomSearch(), of=range(6))
    other = toy_arm(store, "random", ev.RandomSearch(), of=range(6, 12))
    won = compare_logs({"PBT": pbt, "grid": grid})
    assert [d.verdict for d in won.differences] == ["better", "better"]
    assert won.arms[0].values("best") > [0.9, 0.9, 0.9]
    assert won.arms[1].values("best") == pytest.approx([0.3897] * 3, abs=1e-3)
    drawn = compare_logs({"one": one, "other": other})
    assert [d.verdict for d in drawn.differences] == ["undecided", "undecided"]
    assert {d.estimate.method for d in drawn.differences} == {"bootstrap"}


# --- text and data -----------------------------------------------------------------------------


def three_arms() -> dict[str, list[Log]]:
    return {
        "a rather long name of an arm, cut": seeds("a", [[0.9, 0.91], [0.92, 0.93], [0.94, 0.95]]),
        "b": seeds("b", [[0.5, 0.6], [0.55, 0.61], [0.5, 0.62]]),
        "c": seeds("c", [[0.9, 0.92], [0.91, 0.92], [0.95, 0.95]]),
    }


def test_the_table_is_at_most_eighty_characters_wide() -> None:
    lines = str(compare_logs(three_arms())).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("  minus b") and line.endswith("better") for line in lines)
    assert any(line.startswith("  minus c") and line.endswith("undecided") for line in lines)


def test_rows_and_json_hold_every_figure() -> None:
    found = compare_logs(three_arms())
    rows = found.rows()
    assert [(row["figure"], row["minus"]) for row in rows] == [
        (figure, minus) for figure in ("best", "area") for minus in (None, None, None, "b", "c")
    ]
    there = json.loads(json.dumps(found.to_json()))
    assert there["figures"][0]["value"] == pytest.approx(0.93)
    assert there["arms"][1]["studies"][0]["values"] == {"best": 0.6, "area": pytest.approx(0.55)}


# --- curves ------------------------------------------------------------------------------------


def test_curves_have_means_and_bands_over_seeds_at_equal_compute() -> None:
    arms = {"a": seeds("a", [[1.0, 3.0, 2.0], [3.0, 3.0, 5.0]]), "b": [log_of("b", [1.0, 2.0])]}
    a, b = curves(arms)
    assert a.jobs.tolist() == b.jobs.tolist() == [1, 2]
    assert a.mean.tolist() == [2.0, 3.0]
    assert a.low.tolist() == pytest.approx([1.1, 3.0])
    assert a.high.tolist() == pytest.approx([2.9, 3.0])
    assert (a.n, b.n) == (2, 1)
    assert b.low.tolist() == b.mean.tolist() == b.high.tolist() == [1.0, 2.0]


def test_a_curve_begins_when_all_of_its_seeds_have_a_score() -> None:
    (curve,) = curves({"a": [log_of("a", [None, 2.0, 1.0]), log_of("b", [5.0, 6.0, 7.0], seed=1)]})
    assert curve.jobs.tolist() == [2, 3]
    assert curve.mean.tolist() == [4.0, 4.5]


def test_a_loss_falls() -> None:
    (curve,) = curves({"a": [log_of("a", [3.0, 1.0, 2.0], mode="min")]})
    assert curve.mean.tolist() == [3.0, 1.0, 1.0]


def test_a_long_curve_has_no_more_points_than_wanted_and_its_end_is_there() -> None:
    (curve,) = curves({"a": [log_of("a", np.arange(5000.0).tolist())]}, points=100)
    assert len(curve.jobs) == 100
    assert (curve.jobs[0], curve.jobs[-1], curve.mean[-1]) == (1, 5000, 4999.0)


def test_an_arm_in_which_all_failed_has_an_empty_curve() -> None:
    (curve,) = curves({"a": [log_of("a", [None, None])]})
    assert (len(curve.jobs), len(curve.mean), len(curve.low)) == (0, 0, 0)

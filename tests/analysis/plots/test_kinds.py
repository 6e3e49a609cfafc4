"""Every kind of figure, of every kind of log."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evolvent as ev
from evolvent.analysis.log import Log
from evolvent.analysis.plots import KINDS
from evolvent.analysis.plots.figure import Options
from evolvent.errors import ConfigError
from tests.analysis.plots.builders import SPACE, without
from tests.analysis.plots.builders import simulated as population
from tests.needs import needs

needs("altair")
vl_convert = needs("vl_convert")

from evolvent.analysis.plots.figure import FigureRequest  # noqa: E402 - after what skips

MIXED = {
    "optimizer": {"lr": ev.LogUniform(1e-5, 1.0), "batch": ev.LogIntUniform(8, 512)},
    "act": ev.Choice(["relu", "tanh"]),
    "nesterov": ev.Choice([True, False, None]),
    "depth": ev.Ordinal([1, 2, 4]),
    "fixed": 3,
    "label": "plain",
}
HOSTILE = "</script>\"'\\[x].y{0} µ" + "long" * 18


def failing(log: Log, failed: Any) -> Log:
    return replace(
        log,
        failed=log.failed | failed,
        score=np.where(failed, np.nan, log.score),
        metrics={name: np.where(failed, np.nan, m) for name, m in log.metrics.items()},
    )


def joined_late(log: Log) -> Log:
    """The last member was pushed when the others were further: it has half of the rounds."""
    late = (log.member == log.member.max()) & (log.round >= log.rows.shape[1] // 2)
    return without(log, late)


LOGS = {
    "five members": population(),
    "one member": population(1, 5),
    "one round": population(4, 1),
    "one job": population(1, 1),
    "more than are drawn": population(90, 230, space={"lr": SPACE["lr"]}),
    "a loss": population(mode="min"),
    "every kind of hyperparameter": population(space=MIXED, rounds=4),
    "one hyperparameter": population(space={"lr": ev.LogUniform(1e-4, 1.0)}),
    "near one": population(space={"gamma": ev.ReverseLogUniform(0.9, 0.9999), "lr": SPACE["lr"]}),
    "nothing varies": population(space={"lr": 0.1, "act": "relu"}),
    "hostile names": population(name=HOSTILE, space={HOSTILE[:20].replace(".", ""): SPACE["lr"]}),
    "some failed": population(failing=0.3),
    "a member that joined late": joined_late(population()),
    "huge and tiny": replace(
        population(space={"lr": ev.LogUniform(1e-150, 1e150), "b": ev.Uniform(-1e150, 1e-150)}),
        score=np.geomspace(1e-300, 1e300, 40),
    ),
}


def drawn(kind: str, log: Log, **options: Any) -> dict[str, Any]:
    request = FigureRequest(kind=kind, options=Options(**options))
    return request.draw({"only": [log]}).to_dict()


def texts(spec: dict[str, Any]) -> str:
    return re.sub(r"<[^>]*>", "\n", vl_convert.vegalite_to_svg(spec, vl_version="6.4"))


def data_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for rows in spec["datasets"].values() for row in rows]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", LOGS)
def test_every_kind_draws_every_log_without_nan(kind, case):
    spec = drawn(kind, LOGS[case])
    assert "NaN" not in json.dumps(spec, allow_nan=False)
    assert spec["description"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["every kind of hyperparameter", "hostile names", "one round"])
def test_every_kind_is_rendered(kind, case):
    assert "<svg" in vl_convert.vegalite_to_svg(drawn(kind, LOGS[case]), vl_version="6.4")


@pytest.mark.parametrize("kind", KINDS)
def test_study_without_a_finished_job_is_an_honest_empty_figure(kind):
    nothing = without(population(2, 2), np.ones(4, bool))
    assert "No job has finished yet." in texts(drawn(kind, nothing))


@pytest.mark.parametrize("kind", KINDS)
def test_study_of_which_all_jobs_have_failed_is_an_empty_figure_too(kind):
    assert "No job has finished yet." in texts(drawn(kind, failing(population(2, 2), True)))


@pytest.mark.parametrize("kind", KINDS)
def test_names_stand_in_the_figure_as_they_are(kind):
    shown = texts(drawn(kind, population(space={"a": {"b": ev.LogUniform(1e-3, 1.0)}, "c": 1})))
    assert "digits" in shown or kind == "compare"
    assert "accuracy" in shown or kind in ("family", "schedule", "diversity")


def test_scores_are_the_metric_as_training_reported_it():
    log = population(2, 3, mode="min")
    values = {row["y"] for row in data_of(drawn("scores", log)) if "y" in row}
    assert values == {float(f"{-score:.8g}") for score in log.score}


def test_scores_of_another_metric():
    log = population(2, 3)
    values = {row["y"] for row in data_of(drawn("scores", log, metric="loss")) if "y" in row}
    assert values == {float(f"{loss:.8g}") for loss in log.metrics["loss"]}


def test_failed_jobs_are_marked_by_their_id():
    failed = np.zeros(6, bool)
    failed[3] = True
    log = failing(population(2, 3), failed)
    for kind in ("scores", "hyperparameters"):
        marked = {
            row["job"] for row in data_of(drawn(kind, log)) if row.get("what") == "failed job"
        }
        assert marked == {"m1r1"}


def test_lineage_of_the_best_is_drawn_whole():
    log = population()
    best = int(np.nanargmax(log.score))
    wanted = [str(log.id(row)) for row in log.lineage(best).tolist()]
    rows = data_of(drawn("scores", log))
    found = [row["job"] for row in rows if row["what"] == "lineage of the best" and "job" in row]
    assert sorted(found) == sorted(wanted)


def test_every_copy_is_marked():
    log = population()
    donors = log.member[log.parent]
    wanted = {str(log.id(r)) for r in np.flatnonzero((log.parent >= 0) & (donors != log.member))}
    rows = data_of(drawn("hyperparameters", log, hyperparameters=["lr"]))
    assert {row["job"] for row in rows if row["what"] == "copy of another member"} == wanted


def test_hyperparameters_lie_on_the_scale_of_their_space():
    spec = json.dumps(drawn("hyperparameters", population(space=MIXED, rounds=4)))
    assert '"type": "log"' in spec
    assert '"domain": ["relu", "tanh"]' in spec
    assert '"domain": ["true", "false", "None"]' in spec


@pytest.mark.parametrize("kind", ["hyperparameters", "scatter", "improvement"])
def test_what_is_spread_near_one_has_its_values_as_labels(kind):
    shown = texts(drawn(kind, LOGS["near one"]))
    assert {"0.99", "0.999"} <= set(shown.split("\n"))


@pytest.mark.parametrize("kind", ["hyperparameters", "schedule"])
def test_lines_run_from_round_to_round_on_axes_of_categories_too(kind):
    panels = drawn(kind, population(space=MIXED, rounds=4))["concat"]
    layers = [layer for panel in panels for layer in panel["layer"]]
    layers += [inner for layer in layers for inner in layer.get("layer", ())]
    lines = [layer for layer in layers if layer.get("mark", {}).get("type") == "line"]
    assert len(lines) >= len(panels)
    assert all("order" in line["encoding"] for line in lines)


def test_tree_has_an_edge_for_every_copy():
    log = population()
    edges = [row for row in data_of(drawn("family", log)) if "parent" in row]
    copies = {(row["parent"], row["job"]) for row in edges if row["y"] != row["y2"]}
    rows = np.flatnonzero((log.parent >= 0) & (log.member[log.parent] != log.member))
    assert copies == {(str(log.id(log.parent[r])), str(log.id(r))) for r in rows}


def test_large_population_is_drawn_as_shares_of_its_founders():
    rows = data_of(drawn("family", LOGS["more than are drawn"]))
    shares: dict[int, float] = {}
    for row in rows:
        shares[row["round"]] = shares.get(row["round"], 0) + row["share"]
    assert all(share == pytest.approx(1, abs=1e-4) for share in shares.values())


def test_scatter_shows_a_second_study_on_the_same_scales():
    pbt, random = population(), population(name="random", copying=0)
    request = FigureRequest(kind="scatter", options=Options())
    spec = request.draw({"pbt": [pbt], "random": [random]}).to_dict()
    assert [panel["title"]["text"] for panel in spec["hconcat"]] == ["digits", "random"]
    domains = [p["layer"][0]["encoding"]["x"]["scale"]["domain"] for p in spec["hconcat"]]
    assert domains[0] == domains[1]


def test_scatter_draws_late_large_marks_first_and_small_ones_on_top():
    spec = drawn("scatter", population())
    [jobs] = [p["layer"][0]["data"]["name"] for p in spec["hconcat"]]
    rounds = [row["round"] for row in spec["datasets"][jobs]]
    assert rounds == sorted(rounds, reverse=True)
    assert rounds[0] > rounds[-1]


def test_labels_of_parallel_axes_differ_however_narrow_the_range():
    log = population(space={"lr": ev.Uniform(100.0, 100.003)})
    rows = data_of(drawn("parallel", log))
    labels = [row["text"] for row in rows if row.get("axis") == "lr" and "text" in row]
    assert len(set(labels)) == len(labels) > 2


def test_labels_at_the_end_of_compare_stay_at_their_ticks():
    spec = (
        FigureRequest(kind="compare", options=Options()).draw({"a": [population(8, 30)]}).to_dict()
    )
    assert spec["layer"][0]["encoding"]["x"]["axis"]["labelFlush"] is False


def test_scores_of_two_studies_stand_side_by_side_on_the_same_scale():
    pbt, random = population(), population(name="random", copying=0)
    spec = FigureRequest(kind="scores").draw({"pbt": [pbt], "random": [random]}).to_dict()
    ends = [panel["layer"][0]["encoding"]["y"]["scale"]["domain"] for panel in spec["hconcat"]]
    assert ends[0] == ends[1]


def test_gain_is_better_above_zero_also_for_a_loss():
    log = population(2, 2, mode="min", copying=0)
    gains = {row["job"]: row["gain"] for row in data_of(drawn("improvement", log)) if "job" in row}
    fell = log.score[log.rows[0, 1]] - log.score[log.rows[0, 0]]
    assert gains["m0r1"] == pytest.approx(fell)


def test_arms_are_compared_with_bands_over_their_seeds():
    arms = {
        "PBT": [population(seed=s) for s in (1, 2, 3)],
        HOSTILE: [population(name=f"r{s}", seed=s, copying=0) for s in (1, 2)],
        "none yet": [without(population(2, 2), np.ones(4, bool))],
    }
    shown = texts(FigureRequest(kind="compare", options=Options()).draw(arms).to_dict())
    assert "PBT (3 seeds)" in shown
    assert "No job has finished yet in none yet." in shown.replace("\n", " ")


def test_schedule_holds_the_last_value_to_the_end():
    log = population()
    best = int(np.nanargmax(log.score))
    rows = data_of(drawn("schedule", log, hyperparameters=["lr"]))
    steps = sorted((row["at"], row["y"]) for row in rows if "y" in row)
    assert [at for at, _ in steps] == list(range(len(log.lineage(best)) + 1))
    assert steps[-1][1] == steps[-2][1] == float(f"{log.hyperparameters['lr'][best]:.8g}")


@pytest.mark.parametrize("kind", KINDS)
def test_size_and_ground_are_as_chosen(kind, tmp_path: Path):
    spec = drawn(kind, population(), dark=True, width=500, height=400)
    assert spec["config"]["background"] == "#0d1117"
    svg = vl_convert.vegalite_to_svg(spec, vl_version="6.4")
    width, height = (float(x) for x in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0])
    assert 400 <= width <= 600
    assert 320 <= height <= 480


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metric": "speed"}, "study 'digits' has no 'speed'; it has accuracy, loss"),
        ({"hyperparameters": ["rate"]}, "study 'digits' has no 'rate'; it has lr, momentum"),
    ],
)
def test_unknown_name_is_told_with_those_there_are(options, words):
    with pytest.raises(ConfigError, match=words):
        drawn("hyperparameters", population(), **options)


def test_last_part_of_a_nested_name_will_do():
    log = population(space=MIXED, rounds=3)
    assert "optimizer.lr" in json.dumps(drawn("schedule", log, hyperparameters=["lr"]))


def test_comparison_of_another_metric_is_refused():
    with pytest.raises(ConfigError, match="compared by what they were run for, 'accuracy'"):
        drawn("compare", population(), metric="loss")


def test_too_many_studies_are_refused():
    log = population(2, 2)
    with pytest.raises(ConfigError, match="kind family: got 2 studies, wanted one"):
        FigureRequest(kind="family").draw({"a": [log], "b": [log]})
    with pytest.raises(ConfigError, match="kind scatter: got 3 studies, wanted one to 2"):
        FigureRequest(kind="scatter").draw({"a": [log, log], "b": [log]})


def test_unknown_kind_is_told_with_those_there_are():
    with pytest.raises(ConfigError, match="got 'score', wanted one of scores, hyperparameters"):
        FigureRequest(kind="score")


def test_scatter_wants_two_names_at_most():
    with pytest.raises(ConfigError, match="wanted two for a scatter"):
        drawn("scatter", population(), hyperparameters=["lr", "momentum", "lr"])


def test_legend_tells_how_many_of_the_members_are_drawn():
    assert "6 of 90 members" in texts(drawn("scores", LOGS["more than are drawn"]))

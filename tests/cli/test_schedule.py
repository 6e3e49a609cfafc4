"""evolvent schedule: show, keep, stretch, to Ray and back."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import evolvent as ev
from tests.cli.commands import evolvent, fine, new_study, trained_study

RAY = Path(__file__).parents[1] / "integrations" / "ray_files" / "sync"


def test_the_schedule_of_the_best_job_is_shown() -> None:
    best = trained_study().result().best
    assert fine("schedule") == f"{best.schedule}\n"
    assert fine("schedule", "hill", "--job", str(best.job.id)) == f"{best.schedule}\n"


def test_a_terminal_that_is_too_narrow_gets_as_much_as_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = {f"hyperparameter_{i}": ev.Uniform(0.1, 1.0) for i in range(9)}
    trained_study(space=space | {"step": 0.5})
    monkeypatch.setattr("evolvent.cli.render.output.output_console", lambda: Console(width=80))
    shown = fine("schedule").splitlines()
    assert "hyperparameter_0" in shown[0]
    assert "more" in shown[0]
    assert max(map(len, shown)) <= 80
    best = fine("best").splitlines()
    schedule = best[[line.startswith("schedule of its") for line in best].index(True) :]
    assert max(map(len, schedule)) <= 80
    assert "more" in "".join(best)


def test_what_was_written_is_told_beside_json_on_stderr() -> None:
    trained_study()
    result = evolvent("schedule", "-o", "s.json", "--to-ray", "r.txt", "--json")
    assert json.loads(result.stdout)["unit"] == "rounds"
    assert result.stderr == "wrote s.json\nwrote r.txt\n"


def test_the_schedule_of_another_job() -> None:
    study = trained_study(algorithm=ev.RandomSearch())
    data = json.loads(fine("schedule", "--job", "m1r1", "--json"))
    assert [(s["start"], s["length"], s["member"]) for s in data["segments"]] == [(0, 2, 1)]
    assert data["segments"][0]["hyperparameters"] == study.lineage("m1r1")[0].hyperparameters


@pytest.mark.parametrize("name", ["s.json", "s.csv"])
def test_a_file_gives_back_the_schedule_of_the_study(name: str) -> None:
    best = trained_study().result().best
    assert fine("schedule", "-o", name) == f"wrote {name}\n"
    assert ev.Schedule.load(name) == best.schedule


def test_it_is_printed_for_programs_too() -> None:
    best = trained_study().result().best
    assert ev.Schedule.from_json(fine("schedule", "--json")) == best.schedule
    rows = list(csv.DictReader(io.StringIO(fine("schedule", "--csv"))))
    assert [float(row["optimizer.lr"]) for row in rows] == best.schedule.values("optimizer.lr")


def test_it_takes_another_length_and_only_some_names() -> None:
    best = trained_study().result().best
    fine("schedule", "--steps", "1000", "--only", "step", "-o", "s.json")
    assert ev.Schedule.load("s.json") == best.schedule.only("step").rescaled(1000, unit="steps")
    fine("schedule", "--rounds", "10", "-o", "s.json")
    assert ev.Schedule.load("s.json") == best.schedule.rescaled(10)


def test_it_goes_to_ray_and_comes_back() -> None:
    best = trained_study().result().best
    fine("schedule", "--to-ray", "pbt_policy_best.txt")
    fine("schedule", "--from-ray", "pbt_policy_best.txt", "-o", "s.json")
    assert ev.Schedule.load("s.json") == best.schedule


def test_logs_of_ray_are_shown() -> None:
    log = str(RAY / "pbt_policy_ce9a2_00001.txt")
    shown = fine("schedule", "--from-ray", log, "--only", "lr,batch")
    assert [line.split() for line in shown.splitlines()] == [
        ["rounds", "lr", "batch", "member"],
        ["0", "0.1", "16", "3"],
        ["1-5", "0.3675", "32", "1"],
        ["6-9", "0.294", "32", "0"],
        ["10-11", "0.2352", "32", "1"],
    ]
    every = str(RAY / "pbt_global.txt")
    assert fine("schedule", "--from-ray", every, "--trial", "1", "--only", "lr,batch") == shown


def test_the_length_of_a_log_without_results_is_asked_for(tmp_path: Path) -> None:
    log = shutil.copy(RAY / "pbt_policy_ce9a2_00001.txt", tmp_path)
    assert "--iterations" in evolvent("schedule", "--from-ray", str(log)).stderr
    shown = fine("schedule", "--from-ray", str(log), "--iterations", "40", "--only", "lr")
    assert shown.splitlines()[-1].split() == ["10-39", "0.2352", "1"]


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("nope",), 3, "nope"),
        (("--job", "m9r9"), 3, "m9r9"),
        (("--only", "lr"), 3, "no hyperparameter 'lr', there are step, optimizer.lr"),
        (("-o", "s.yaml"), 1, "ends in .json or .csv"),
        (("--from-ray", "none.txt"), 3, "cannot read none.txt: No such file"),
        (("hill", "--from-ray", "x.txt"), 2, "--from-ray reads a file: leave out STUDY"),
        (("--from-ray", str(RAY / "pbt_global.txt")), 1, "lineage with --trial"),
        (("--trial", "3"), 2, "belong to --from-ray"),
        (("--rounds", "3", "--steps", "3"), 2, "exclude each other"),
        (("--rounds", "0"), 2, "--rounds"),
    ],
)
def test_bad_input_is_told(arguments: Any, code: int, complaint: str) -> None:
    trained_study()
    result = evolvent("schedule", *arguments)
    assert result.exit_code == code
    assert complaint in " ".join(result.stderr.replace("│", " ").split())


def test_a_study_without_a_finished_job_has_none() -> None:
    new_study()
    result = evolvent("schedule")
    assert result.exit_code == 1
    assert "no finished job" in result.stderr

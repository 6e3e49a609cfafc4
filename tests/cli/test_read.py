"""studies, show, jobs, best."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from getpass import getuser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import evolvent as ev
from evolvent.cli.render import output
from tests import trainables
from tests.cli.commands import evolvent, fine, new_study, trained_study


def diverge(job: ev.Job) -> dict[str, float]:
    return {**trainables.climb(job), "loss": float("inf")}


def table(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line and not line.startswith("─")]


def rows_of_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_studies_are_listed_with_the_newest_last() -> None:
    trained_study("hill")
    new_study("valley", mode="min")
    assert [row[:4] for row in table(fine("studies"))] == [
        ["name", "state", "done", "jobs"],
        ["hill", "finished", "6", "6"],
        ["valley", "open", "0", "6"],
    ]


def test_studies_are_listed_for_programs_too() -> None:
    study = trained_study()
    listed = json.loads(fine("studies", "--json"))
    assert [(row["name"], row["best"]) for row in listed] == [("hill", study.result().best.value)]
    assert [row["name"] for row in rows_of_csv(fine("studies", "--csv"))] == ["hill"]


def test_store_without_studies_lists_none() -> None:
    trained_study().delete()
    assert json.loads(fine("studies", "--json")) == []


def test_looking_does_not_make_a_store(tmp_path: Path) -> None:
    result = evolvent("studies")
    assert result.exit_code == 3
    assert "evolvent.db" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_store_is_taken_from_the_environment(monkeypatch: Any) -> None:
    trained_study(store="sqlite:///elsewhere.db")
    monkeypatch.setenv("EVOLVENT_STORE", "sqlite:///elsewhere.db")
    assert "hill" in fine("studies")


def test_studies_fit_a_terminal_and_are_whole_when_piped(monkeypatch: pytest.MonkeyPatch) -> None:
    new_study("n" * 100, metric="m" * 40)
    assert "n" * 100 in fine("studies")
    terminal = Console(width=100, force_terminal=True, color_system=None)
    monkeypatch.setattr(output, "output_console", lambda: terminal)
    with terminal.capture() as shown:
        fine("studies")
    lines = shown.get().splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[-1].split()[:4] == ["n" * 24 + "…", "open", "0", "6"]


def test_show_takes_the_newest_study_when_none_is_named() -> None:
    new_study("older")
    trained_study("newer")
    assert fine("show").startswith("newer")
    assert fine("show", "older").startswith("older")


def test_show_has_a_row_for_every_member() -> None:
    trained_study()
    lines = fine("show").splitlines()
    assert lines[1].startswith("finished  6/6 jobs  best height")
    assert [line.split()[:3] for line in lines[4:7]] == [[m, "2/2", "ended"] for m in "012"]
    assert lines[7].startswith("algorithm: PBT(Truncation(0.25), explore=Chain((Perturb(")


def test_show_tells_the_last_failure() -> None:
    trained_study(train=trainables.stumble, max_failures=0)
    shown = fine("show")
    assert (
        "last failure: m1r1, attempt 1: RuntimeError: a stone on the way (trainables.py:" in shown
    )
    assert '\n      raise RuntimeError("a stone on the way")\n' in shown


def test_show_warns_where_noise_decides() -> None:
    trained_study(train=trainables.toss, population=8, rounds=9, synchronous=True)
    said = "Much of what ranks members is noise: in rounds 1 to "
    assert f"\nwarning: {said}" in fine("show")
    assert f"\nwarning: {said}" in fine("show", "--watch")
    assert said in json.loads(fine("show", "--json"))["warning"]


def test_show_tells_what_was_last_done_to_the_study() -> None:
    trained_study()
    assert ", by " not in fine("show")
    fine("extend", "4")
    fine("stop", "--reason", "for the night\x1b[31m [red]")
    fine("push", "step=0.5")
    told = [line for line in fine("show").splitlines() if ", by " in line]
    who = rf"\d+ s ago, by {getuser()}@{re.escape(os.uname().nodename)}"
    assert re.fullmatch(f"extended from 2 to 4 rounds, {who}", told[0])
    assert told[1].startswith("stopped: for the night")
    assert "[red]" in told[1]
    assert re.fullmatch(f"pushed m3r0, {who}", told[2])
    for rounds in "5678":
        fine("extend", rounds)
    said = [line for line in fine("show").splitlines() if "--json" in line or ", by " in line]
    assert "--json" in said[0]
    assert [line.split(",")[0] for line in said[1:]] == [
        "pushed m3r0",
        *(f"extended from {n} to {n + 1} rounds" for n in (4, 5, 6, 7)),
    ]


def test_show_of_a_program_has_all_that_was_done_to_the_study() -> None:
    trained_study()
    assert json.loads(fine("show", "--json"))["interventions"] == []
    for rounds in "345678":
        fine("extend", rounds)
    done = json.loads(fine("show", "--json"))["interventions"]
    assert [set(one) for one in done] == [{"at", "kind", "facts", "by"}] * 6
    assert done[0]["kind"] == "extended"
    assert done[0]["facts"] == {"before": 2, "after": 3}


def test_show_of_a_program_has_settings_and_members() -> None:
    trained_study()
    shown = json.loads(fine("show", "--json"))
    assert shown["settings"]["population"] == 3
    assert shown["warning"] is None
    assert [m["newest"]["id"] for m in shown["members"]] == ["m0r1", "m1r1", "m2r1"]
    assert set(shown["members"][0]["newest"]["hyperparameters"]) == {"step", "optimizer"}
    assert [row["id"] for row in rows_of_csv(fine("show", "--csv"))] == ["m0r1", "m1r1", "m2r1"]


def test_watching_ends_when_the_study_is_over() -> None:
    trained_study()
    lines = fine("show", "--watch").splitlines()
    assert lines[-1].startswith("finished  best height")
    assert "\x1b" not in "".join(lines)


def test_watching_does_not_go_with_json() -> None:
    trained_study()
    assert evolvent("show", "--watch", "--json").exit_code == 2


def test_unknown_study_exits_with_3_and_names_the_ones_there_are() -> None:
    trained_study("hill")
    result = evolvent("show", "hil")
    assert result.exit_code == 3
    assert "hill" in result.stderr
    assert "Traceback" not in result.output


def test_jobs_are_listed_in_the_order_in_which_they_finished() -> None:
    study = trained_study()
    assert [row[0] for row in table(fine("jobs"))[1:]] == [job.id for job in study.jobs()]


def test_open_jobs_are_listed_too() -> None:
    new_study()
    assert [row[:2] for row in table(fine("jobs"))[1:]] == [[f"m{i}r0", "queued"] for i in range(3)]


def test_tables_show_times_of_day_and_the_last_line_of_a_traceback() -> None:
    trained_study(train=trainables.stumble, max_failures=0, rounds=1)
    listed = fine("jobs", "--state", "failed", "--fields", "id,error,finished_at")
    lines = [line for line in listed.splitlines() if line.startswith("m")]
    assert lines
    assert all(re.search(r"Error: .* \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", line) for line in lines)
    assert "Traceback" not in listed
    assert "Traceback" in fine("jobs", "--state", "failed", "--fields", "error", "--json")


def test_jobs_can_be_chosen_sorted_and_cut() -> None:
    study = trained_study()
    heights = sorted(
        (job.metrics["height"] for job in study.jobs() if job.round == 1), reverse=True
    )
    listed = fine(
        "jobs", "--where", "round=1", "--where", "height>0", "--sort", "-height",
        "--limit", "2", "--fields", "height", "--json",
    )  # fmt: skip
    assert [row["height"] for row in json.loads(listed)] == heights[:2]


def test_jobs_can_be_chosen_by_state_and_member() -> None:
    trained_study(train=trainables.stumble, max_failures=0, rounds=1)
    assert fine("jobs", "--state", "failed", "--csv", "--fields", "id,state") == (
        "id,state\nm1r0,failed\n"
    )
    assert fine("jobs", "--member", "2", "--csv", "--fields", "id") == "id\nm2r0\n"


def test_nested_hyperparameter_is_found_by_its_last_name() -> None:
    study = trained_study()
    rows = rows_of_csv(fine("jobs", "--csv", "--fields", "lr,optimizer.lr,step"))
    exact = [job.hyperparameters for job in study.jobs()]
    assert [float(row["lr"]) for row in rows] == [h["optimizer"]["lr"] for h in exact]
    assert [float(row["step"]) for row in rows] == [h["step"] for h in exact]
    assert all(row["lr"] == row["optimizer.lr"] for row in rows)


def test_csv_of_jobs_has_every_field() -> None:
    trained_study()
    titles = fine("jobs", "--csv").splitlines()[0].split(",")
    assert titles[:4] == ["id", "member", "round", "state"]
    assert titles[-4:] == ["step", "optimizer.lr", "height", "depth"]


def test_json_has_no_numbers_that_json_has_not() -> None:
    trained_study(train=diverge)
    jobs = json.loads(fine("jobs", "--json"), parse_constant=lambda name: 1 / 0)
    assert [job["metrics"]["loss"] for job in jobs] == [None] * 6


def test_unknown_field_is_refused_with_the_fields_there_are() -> None:
    trained_study()
    result = evolvent("jobs", "--fields", "id,speed")
    assert result.exit_code == 3
    assert "'speed'" in result.stderr
    assert "optimizer.lr" in result.stderr


def test_unknown_state_is_a_usage_error_that_names_the_states() -> None:
    trained_study()
    result = evolvent("jobs", "--state", "dead")
    assert result.exit_code == 2
    assert "cancelled" in result.stderr


def test_json_and_csv_exclude_each_other() -> None:
    trained_study()
    for command in ("studies", "show", "jobs"):
        assert evolvent(command, "--json", "--csv").exit_code == 2


def test_best_shows_score_checkpoint_and_schedule() -> None:
    study = trained_study()
    best = study.result().best
    text = fine("best")
    assert f"(job {best.job.id})" in text
    assert str(best.checkpoint) in text
    assert str(best.schedule).splitlines()[0].split() == text.splitlines()[6].split()


def test_best_of_a_study_that_minimises_shows_the_metric_as_it_was_reported() -> None:
    study = trained_study(metric="depth", mode="min")
    assert json.loads(fine("best", "--json"))["best"]["value"] == study.result().best.value < 0
    assert f"depth {study.result().best.value:.6g}" in fine("best")


def test_best_that_is_damaged_is_an_error_that_names_the_file() -> None:
    directory = trained_study().result().best.checkpoint
    assert fine("best", "--path").strip() == str(directory)
    file = next(path for path in directory.rglob("*") if path.is_file())
    file.chmod(0o644)
    file.write_bytes(b"other")
    for form in ((), ("--path",), ("--json",)):
        result = evolvent("best", *form)
        assert result.exit_code == 1
        assert f"{file.name!r} is not what was saved" in result.stderr
        assert bool(result.stdout) == (not form)  # for people all else is told, too


def test_best_by_a_mean_shows_its_own_value_and_the_mean() -> None:
    best = trained_study(best="mean of 2").result().best
    assert best.mean is not None
    lines = fine("best").splitlines()
    assert f"height {best.value:.6g}  (job {best.job.id})" in lines[1]
    assert lines[2].split(maxsplit=2) == ["chosen", "by", f"{best.mean:.6g}, mean of the last 2"]
    said = json.loads(fine("best", "--json"))["best"]
    assert (said["value"], said["mean"], said["n_scores"]) == (best.value, best.mean, 2)
    [listed] = json.loads(fine("studies", "--json"))
    assert (listed["best"], listed["best_by"]) == (best.mean, "mean of 2")
    assert "mean of the last 2" in fine("show")
    assert json.loads(fine("show", "--json"))["settings"]["best"] == "mean of 2"


def test_path_of_the_best_checkpoint_can_be_used_in_a_shell() -> None:
    trained_study()
    path = fine("best", "--path").removesuffix("\n")
    assert (Path(path) / "height.json").is_file()


def test_best_before_any_job_is_done_is_an_error() -> None:
    new_study()
    for form in ((), ("--path",)):
        result = evolvent("best", *form)
        assert result.exit_code == 1
        assert "no finished job" in result.stderr
    assert json.loads(fine("best", "--json"))["best"] is None

"""replay; killed, and gone on with."""

from __future__ import annotations

import json

import pytest

import evolvent as ev
from evolvent.analysis.schedule.schedule import Schedule
from tests.cli.commands import evolvent, fine, trained_study
from tests.cli.test_train import done, start, until


@pytest.fixture
def hill() -> ev.Study:
    return trained_study(store=ev.open_store("sqlite:///evolvent.db"))


def test_it_trains_both_arms_and_reports(hill: ev.Study) -> None:
    text = fine("replay", "hill", "--workers", "0", "--seeds", "2")
    assert "replay of hill: the schedule of m" in text
    assert "All seeds gave the same value" in text
    assert ev.load_study("hill-replay").record.population == 2
    assert ev.load_study("hill-replay").status().state == "finished"


def test_json_is_all_there_is_on_standard_output(hill: ev.Study) -> None:
    there = json.loads(fine("replay", "hill", "-w", "0", "--json", "--rounds", "4"))
    assert there["original"]["job"] == hill.result().best.job.id
    assert there["rounds"] == 4
    assert len(there["replay"]["scores"]) == 3


def test_a_schedule_may_come_from_a_file_and_the_code_from_the_command_line(hill: ev.Study) -> None:
    values = {"step": 0.5, "optimizer": {"lr": 0.1}}
    Schedule.piecewise([(2, values), (1, {**values, "step": 0.25})]).save("mine.json")
    options = ["--name", "mine", "--no-last-only", "--seeds", "1", "-w", "0", "--json"]
    code = "tests.trainables:Climber"
    there = json.loads(fine("replay", "hill", code, "--schedule", "mine.json", *options))
    assert there["replay"] | {"mean": None, "sd": None} == {
        "study": "mine", "scores": [1.25], "failed": [], "mean": None, "sd": None,
    }  # fmt: skip
    assert there["last"] is None


@pytest.mark.usefixtures("hill")
def test_a_schedule_that_does_not_fit_is_refused_with_its_place() -> None:
    Schedule.piecewise([(2, {"step": 0.5}), (1, {"step": 9.0})]).save("wrong.csv")
    result = evolvent("replay", "hill", "--schedule", "wrong.csv", "-w", "0")
    assert result.exit_code == 1
    assert "hyperparameter optimizer.lr: missing" in result.output
    assert [s.record.name for s in ev.list_studies()] == ["hill"]


@pytest.mark.usefixtures("hill")
def test_code_that_is_nowhere_leaves_no_study_behind() -> None:
    result = evolvent("replay", "hill", "nomod:x", "--name", "zzz")
    assert result.exit_code == 3
    assert "no module 'nomod'" in result.stderr
    assert [s.record.name for s in ev.list_studies()] == ["hill"]


@pytest.mark.usefixtures("hill")
def test_when_every_seed_fails_the_exit_code_says_so() -> None:
    result = evolvent("replay", "hill", "tests.trainables:fall", "-w", "0", "--seeds", "2")
    assert result.exit_code == 1
    assert "Failed and left out of the mean: m0r0 of hill-replay: RuntimeError" in result.output


@pytest.mark.slow
def test_killed_at_any_time_the_same_command_goes_on(hill: ev.Study) -> None:
    command = ("replay", "hill", "tests.trainables:climb_slowly", "--rounds", "6", "-w", "1")
    first = start(*command)
    until(lambda: done("hill-replay") >= 4)
    first.kill()
    first.communicate()
    before = done("hill-replay")
    assert before < 18
    there = json.loads(fine(*command[:2], "--rounds", "6", "-w", "0", "--json"))
    replay = ev.load_study("hill-replay")
    plan = replay.record.algorithm
    assert [job.round for job in replay.jobs() if job.member == 2] == list(range(6))
    for job in replay.jobs():
        assert replay.record.space.flatten(job.hyperparameters) == plan.at(job.round)
    assert len(set(there["replay"]["scores"])) == 1
    steps = sum(plan.at(round)["step"] for round in range(6))
    assert there["replay"]["scores"][0] == pytest.approx(steps)

"""export and import."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import evolvent as ev
from tests.cli.commands import evolvent, fine, new_study, trained_study


def test_exported_study_can_be_imported_elsewhere_and_looked_at() -> None:
    study = trained_study()
    said = fine("export", "hill", "-o", "hill.zip")
    assert said.startswith("hill.zip: study hill with 6 finished jobs and 1 checkpoint, ")
    said = fine("import", "hill.zip", "--store", "sqlite:///other.db")
    assert "study hill is in sqlite:///" in said
    assert "other.db with 6 done jobs: finished" in said
    best = fine("best", "--json", "--store", "sqlite:///other.db")
    assert study.result().best.job.id in best
    path = fine("best", "--path", "--store", "sqlite:///other.db").strip()
    assert (Path(path) / "height.json").is_file()


def test_one_job_is_told_as_one() -> None:
    trained_study(population=1, rounds=1)
    assert "with 1 finished job and 1 checkpoint, " in fine("export", "hill", "-o", "hill.zip")
    assert "with 1 done job: " in fine("import", "hill.zip", "--name", "twin")


def test_study_that_was_moved_half_way_goes_on() -> None:
    trained_study()
    fine("extend", "hill", "--rounds", "4")
    fine("export", "-o", "hill.zip", "--checkpoints", "kept")
    said = fine("import", "hill.zip", "--name", "twin")
    assert said.endswith("`evolvent resume twin` goes on with it\n")
    there = ["--store", "sqlite:///other.db"]
    said = fine("import", "hill.zip", "--name", "my twin", *there)
    command = shlex.split(said.partition("`evolvent ")[2].partition("`")[0])
    assert command[:2] == ["resume", "my twin"]
    assert fine(*command, "--workers", "0").startswith("my twin")
    fine("resume", "hill", "--workers", "0")
    fine("resume", "twin", "--workers", "0")
    scores = [[job.score for job in ev.load_study(n).jobs()] for n in ("hill", "twin")]
    assert scores[0] == scores[1]
    assert len(scores[0]) == 12


def test_taken_name_is_told_with_the_option() -> None:
    trained_study()
    fine("export", "-o", "hill.zip")
    result = evolvent("import", "hill.zip")
    assert result.exit_code == 1
    assert "'hill'" in result.stderr
    assert "--name" in result.stderr


def test_study_without_its_checkpoints_says_so_and_does_not_go_on() -> None:
    trained_study()
    fine("extend", "hill", "--rounds", "4")
    fine("export", "-o", "hill.zip", "--checkpoints", "none")
    said = fine("import", "hill.zip", "--name", "twin")
    assert "stopped, imported without the checkpoints of m" in said
    result = evolvent("resume", "twin", "--workers", "0")
    assert result.exit_code == 1
    assert "--checkpoints kept" in result.stderr
    assert "(not there)" in fine("best", "twin")
    assert '"checkpoint": null' in fine("best", "twin", "--json")
    assert evolvent("best", "twin", "--path").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("export", "-o", "a.zip", "--checkpoints", "m0r9"), 3, "m0r9"),
        (("export", "-o", "a.zip", "--checkpoints", "all"), 1, "'kept'"),
        (("export", "nobody", "-o", "a.zip"), 3, "nobody"),
        (("export", "hill"), 2, "--output"),
        (("import", "nothing.zip"), 3, "nothing.zip"),
        (("import", "evolvent.db"), 1, "is no archive of a study"),
        (("import", "evolvent.db", "--name", " "), 1, "name"),
    ],
)
def test_bad_input_is_told(arguments: tuple[str, ...], code: int, told: str) -> None:
    new_study()
    result = evolvent(*arguments)
    assert result.exit_code == code
    assert told in result.stderr
    assert not Path("a.zip").exists()


@pytest.mark.parametrize("command", ["export", "import"])
def test_help_explains_with_examples(command: str) -> None:
    said = fine(command, "--help")
    assert "Examples" in said
    assert f"evolvent {command} digits" in said

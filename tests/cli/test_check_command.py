"""The command `check`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.commands import STUDY_FILE, evolvent, fine, new_study, study_file


def test_good_training_code_passes(tmp_path: Path) -> None:
    text = fine("check", "tests.trainables:Climber", "--file", study_file(tmp_path))
    assert "none failed" in text.splitlines()[-1]


def test_training_code_that_ignores_new_values_fails(tmp_path: Path) -> None:
    result = evolvent("check", "tests.trainables:Stubborn", "--file", study_file(tmp_path))
    assert result.exit_code == 1
    assert "FAIL  changes alive" in result.stdout


def test_check_takes_code_and_space_from_a_file(tmp_path: Path) -> None:
    text = STUDY_FILE.replace("trainables:climb", "trainables:Climber")
    said = json.loads(fine("check", "--file", study_file(tmp_path, text), "--json"))
    assert said["trainable"] == "tests.trainables:Climber"
    assert said["ok"]
    assert {proof["verdict"] for proof in said["proofs"]} <= {"ok", "note"}


def test_check_takes_code_and_space_from_a_study() -> None:
    new_study(space={"step": 1.0}, trainable="tests.trainables:Climber")
    assert fine("check").startswith("ok")


def test_number_of_layers_must_not_be_explored(tmp_path: Path) -> None:
    text = STUDY_FILE + 'layers = {type = "IntUniform", low = 1, high = 9}\n'
    result = evolvent("check", "tests.trainables:Layered", "--file", study_file(tmp_path, text))
    assert result.exit_code == 1
    assert "FAIL  layers: " in result.stdout
    assert 'explore = {"step" = …}' in " ".join(result.stdout.split())  # as it goes into the file
    named = text + '[algorithm]\ntype = "PBT"\nexplore = {step = "Perturb"}\n'
    fine("check", "tests.trainables:Layered", "--file", study_file(tmp_path, named))


def test_code_that_cannot_be_imported_is_an_error(tmp_path: Path) -> None:
    result = evolvent("check", "tests.trainables:fly", "--file", study_file(tmp_path))
    assert result.exit_code == 1
    assert "fly" in result.stderr

"""The command `check`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
def test_number_of_layers_must_not_be_explored(tmp_path: Path) -> None:
    text = STUDY_FILE + 'layers = {type = "IntUniform", low = 1, high = 9}\n'
    result = evolvent("check", "tests.trainables:Layered", "--file", study_file(tmp_path, text))
    assert result.exit_code == 1
    assert "FAIL  layers: " in result.stdout
    assert 'explore = {"step" = …}' in " ".join(result.stdout.split())  # as it goes into the file
    named = text + '[algorithm]\ntype = "PBT"\nexplore = {step = "Perturb"}\n'
    fine("check", "tests.trainables:Layered", "--file", study_file(tmp_path, named))


LOOP = """
import json, sys
import evolvent as ev
study = ev.create_study("loop", metric="height", mode="max", population=2, rounds=2,
                        space={"step": ev.Uniform(0.1, 0.9), "unread": ev.Uniform(0, 1)})
while job := study.next_job(wait=True):
    with job:
        print("args", sys.argv[1:], file=sys.stderr)
        LOAD
        height = [h + job.hyperparameters["step"] for h in height]
        (job.directory / "height.json").write_text(json.dumps(height))
        job.metrics = {"height": height[0]}
study.result().best
"""
LOADS = """height = [0.0, 0.0]
        if job.checkpoint is not None:
            height = json.loads((job.checkpoint / "height.json").read_text())"""


def test_a_loop_of_ones_own_is_checked_against_a_private_study(tmp_path: Path) -> None:
    script = tmp_path / "loop.py"
    script.write_text(LOOP.replace("LOAD", LOADS))
    result = evolvent("check", "--ask", str(script), "--skip", "step", "--", "--fast")
    assert result.exit_code == 0
    assert "note  unread: not seen to act within 2 rounds, nor to be read" in result.stdout
    assert set(result.stderr.splitlines()) == {"args ['--fast']"}
    assert not Path("evolvent.db").exists()


@pytest.mark.slow
def test_advice_for_a_loop_speaks_of_its_job_and_an_early_end_is_told(tmp_path: Path) -> None:
    script = tmp_path / "loop.py"
    text = LOOP.replace("LOAD", "height = [1.0, 1.0]")
    script.write_text(text)
    result = evolvent("check", "--ask", str(script), "--only", "goes on")
    assert "load job.checkpoint when it is not None" in " ".join(result.stdout.split())
    script.write_text(text.replace("while job", "if job"))
    result = evolvent("check", "--ask", str(script))
    assert "FAIL contract: the loop has ended before" in " ".join(result.stdout.split())
    script.write_text(text.replace("    with job:", "    if job:"))
    result = evolvent("check", "--ask", str(script))
    assert "was not used in a `with` block" in " ".join(result.stdout.split())


@pytest.mark.slow
def test_a_command_is_checked_where_no_training_code_is_known(tmp_path: Path) -> None:
    text = STUDY_FILE.replace('trainable = "tests.trainables:climb"\n', "")
    file = study_file(tmp_path, text)
    program = """
import json, pathlib, sys
step, load, save = float(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
height = json.loads(pathlib.Path(load, "h").read_text()) if load else 0.0
(save / "h").write_text(json.dumps(height + step))
print(json.dumps({"height": height + step}))
"""
    (tmp_path / "train.py").write_text(program)
    words = [sys.executable, str(tmp_path / "train.py"), "{step}", "{checkpoint}", "{directory}"]
    last = fine("check", "--file", file, "--", *words).splitlines()[-1]
    assert last.startswith(f"{Path(sys.executable).name} ")
    assert last.endswith("…: 6 proofs, none failed")
    (tmp_path / "train.py").write_text(program.replace(" if load else", " if 0 else"))
    result = evolvent("check", "--file", file, "--only", "goes on", "--", *words)
    assert "load {checkpoint} when it is given" in " ".join(result.stdout.split())


def test_a_proof_that_cannot_be_is_refused_before_anything_is_imported(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit('imported')\n")
    names = ("--only", "step,lrr", "--file", study_file(tmp_path))
    result = evolvent("check", f"{tmp_path / 'train.py'}:train", *names)
    assert result.exit_code == 3
    assert "no proof 'lrr': there are contract, repeats, goes on" in " ".join(result.stderr.split())


def test_code_that_cannot_be_imported_is_an_error(tmp_path: Path) -> None:
    result = evolvent("check", "tests.trainables:fly", "--file", study_file(tmp_path))
    assert result.exit_code == 3
    assert "fly" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["study.toml"], "a study file goes after --file: evolvent check -f study.toml"),
        (["tests.trainables:climb"], "to check without a study: --file STUDY.toml"),
        (["--max-seconds", "-1"], "--max-seconds"),
    ],
)
def test_who_has_not_said_what_to_check_is_told_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = evolvent("check", *words)
    assert result.exit_code > 1
    assert said in " ".join(result.stderr.replace("│", " ").split())

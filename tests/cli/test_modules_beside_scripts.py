"""Modules that lie beside a script, or in the current directory, are found by the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TRAIN = """
import sys
import neighbour

def train(job):
    assert sys.path[0] == {folder!r}, sys.path
    (job.directory / "x").write_text("1")
    return {{"score": neighbour.X}}
"""
STUDY = """
[study]
name = "s"
metric = "score"
mode = "max"
population = 2
rounds = 2
durability = "process"
trainable = "{trainable}"

[space]
lr = {{type = "Uniform", low = 0.1, high = 1.0}}

[algorithm]
type = "PBT"
explore = {{type = "CustomExplore", fn = "{explore}:keep"}}
"""
RULES = "def keep(values, rng):\n    return values\n"


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The command as it is installed, and not `python -m`, which looks in the current directory.
    program = str(Path(sys.executable).parent / "evolvent")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [program, *arguments],
        check=False, cwd=directory, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A script with a neighbour, and an empty directory beside its folder."""
    for name in ("project", "elsewhere"):
        (tmp_path / name).mkdir()
    project = tmp_path.resolve() / "project"
    (project / "train.py").write_text(TRAIN.format(folder=str(project)))
    (project / "neighbour.py").write_text("X = 3")
    (project / "rules.py").write_text(RULES)
    (tmp_path / "elsewhere" / "local_rules.py").write_text(RULES)
    return tmp_path


@pytest.mark.parametrize("explore", ["rules", "local_rules"])
def test_they_are_found_from_another_directory(home: Path, explore: str) -> None:
    text = STUDY.format(trainable="../project/train.py:train", explore=explore)
    (home / "elsewhere" / "study.toml").write_text(text)
    done = run(home / "elsewhere", "run", "study.toml", "--workers", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    again = run(home / "elsewhere", "extend", "s", "3"), run(home / "elsewhere", "resume", "s")
    assert [d.returncode for d in again] == [0, 0], again[1].stdout + again[1].stderr


def test_the_check_finds_them_too(home: Path) -> None:
    text = STUDY.format(trainable="train.py:train", explore="rules")
    (home / "project" / "study.toml").write_text(text)
    done = run(home / "project", "check", "--file", "study.toml", "--only", "contract")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_nowhere_is_told_with_the_folders_looked_in(home: Path) -> None:
    text = STUDY.format(trainable="../project/train.py:train", explore="no_such_rules")
    (home / "elsewhere" / "study.toml").write_text(text)
    done = run(home / "elsewhere", "run", "study.toml")
    assert done.returncode == 1
    for said in ("no_such_rules", f"{home}/project, ", "the current directory", "PYTHONPATH"):
        assert said in done.stderr


PACKAGED = """
import evolvent as ev
{imports}

def train(job):
    return {{"score": net.X}}

if __name__ == "__main__":
    space = {{"lr": ev.Uniform(0.1, 1.0)}}
    study = ev.create_study("s", metric="score", mode="max", population=2, rounds=2, space=space)
    study.run(train, workers=1)
"""


@pytest.mark.parametrize(
    ("imports", "regular"),
    [("from . import net", True), ("from . import net", False), ("from proj import net", True)],
)
def test_a_study_of_a_module_of_a_package_is_resumed(
    tmp_path: Path, imports: str, regular: bool
) -> None:
    package = tmp_path / "proj"
    package.mkdir()
    (package / "train.py").write_text(PACKAGED.format(imports=imports))
    (package / "net.py").write_text("X = 3")
    if regular:
        (package / "__init__.py").touch()
    python = [sys.executable, "-m", "proj.train"]
    subprocess.run(python, check=True, cwd=tmp_path, capture_output=True, timeout=120)
    (tmp_path / "elsewhere").mkdir()
    store = "--store", f"sqlite:///{tmp_path}/evolvent.db"
    extended = run(tmp_path, "extend", "s", "3")
    assert extended.returncode == 0, extended.stderr
    again = run(tmp_path / "elsewhere", "resume", "s", "--workers", "1", *store)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "finished after 6 jobs" in again.stdout + again.stderr

"""Builders for the tests of the command line: studies that are there, and commands on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

import evolvent as ev
from evolvent.cli.main import app
from tests import trainables

STUDY_FILE = """
[study]
name = "hill"
metric = "height"
mode = "max"
population = 3
rounds = 2
seed = 1
durability = "process"
workers = 0
trainable = "tests.trainables:climb"

[space]
step = {type = "Uniform", low = 0.1, high = 1.0}
"""


def evolvent(*arguments: str, answer: str = "") -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(arguments), input=answer)


def fine(*arguments: str, answer: str = "") -> str:
    """Run a command that must succeed and return what it printed."""
    result = evolvent(*arguments, answer=answer)
    assert result.exit_code == 0, result.output
    return result.stdout


def new_study(name: str = "hill", **changes: Any) -> ev.Study:
    """Write a study of three members and two rounds into the store in the working directory."""
    settings: dict[str, Any] = {
        "metric": "height",
        "mode": "max",
        "space": {"step": ev.Uniform(0.1, 1.0), "optimizer": {"lr": ev.LogUniform(1e-4, 1.0)}},
        "population": 3,
        "rounds": 2,
        "seed": 1,
        "durability": "process",
        "trainable": "tests.trainables:climb",
    }
    return ev.create_study(name, **(settings | changes))


def trained_study(name: str = "hill", *, train: Any = trainables.climb, **changes: Any) -> ev.Study:
    """Write a study and run it to its end."""
    study = new_study(name, **changes)
    study.run(train, workers=0, progress=False)
    return study


def study_file(directory: Path, text: str = STUDY_FILE) -> str:
    """Write a study file and return its path."""
    path = directory / "study.toml"
    path.write_text(text)
    return str(path)

"""Training code for tests of the surfaces: tiny, deterministic, importable by its path."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import evolvent as ev


def climb(job: ev.Job) -> dict[str, float]:
    """Add `step` to a number that the checkpoint carries."""
    height = _read(job.checkpoint) + float(job.hyperparameters["step"])
    (job.directory / "height.json").write_text(json.dumps(height))
    return {"height": height, "depth": -height}


def climb_slowly(job: ev.Job) -> dict[str, float]:
    time.sleep(0.2)
    return climb(job)


def stumble(job: ev.Job) -> dict[str, float]:
    """Member 1 always raises."""
    if job.member == 1:
        raise RuntimeError("a stone on the way")
    return climb(job)


def fall(job: ev.Job) -> dict[str, float]:
    raise RuntimeError("no ground below")


def toss(job: ev.Job) -> dict[str, float]:
    """Learn nothing: the metric is drawn."""
    (job.directory / "height.json").write_text("0")
    return {"height": random.Random(job.seed).random()}


class Climber(ev.Trainable):
    """`climb` as a class."""

    def setup(self, hyperparameters: Mapping[str, Any], context: ev.Context) -> None:
        self.height = 0.0

    def apply(self, hyperparameters: Mapping[str, Any]) -> None:
        self.step = float(hyperparameters["step"])

    def train(self) -> dict[str, float]:
        self.height += self.step
        return {"height": self.height}

    def save(self, directory: Path) -> None:
        (directory / "height.json").write_text(json.dumps(self.height))

    def load(self, directory: Path) -> None:
        self.height = _read(directory)


class Layered(Climber):
    """Has as many weights as `layers` says, from the first round on."""

    def setup(self, hyperparameters: Mapping[str, Any], context: ev.Context) -> None:
        super().setup(hyperparameters, context)
        self.weights = [1.0] * hyperparameters["layers"]

    def train(self) -> dict[str, float]:
        super().train()
        return {"height": self.height + sum(self.weights)}

    def save(self, directory: Path) -> None:
        super().save(directory)
        (directory / "weights.json").write_text(json.dumps(self.weights))

    def load(self, directory: Path) -> None:
        super().load(directory)
        saved = json.loads((directory / "weights.json").read_text())
        if len(saved) != len(self.weights):
            raise ValueError(f"shape mismatch: ({len(saved)},) into ({len(self.weights)},)")
        self.weights = saved


class Stubborn(Climber):
    """Reads new values on a live model, and ignores them."""

    def setup(self, hyperparameters: Mapping[str, Any], context: ev.Context) -> None:
        self.height = 0.0
        self.step = float(hyperparameters["step"])

    def apply(self, hyperparameters: Mapping[str, Any]) -> None:
        self.told = hyperparameters["step"]


def _read(checkpoint: Path | None) -> float:
    return (
        0.0 if checkpoint is None else float(json.loads((checkpoint / "height.json").read_text()))
    )

"""Training code for the crash tests: tiny, deterministic, slow where a test wants it."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import evolvent as ev

HOME = "EVOLVENT_CRASH_HOME"
"""Environment variable: where `Held` looks for its files."""

SPACE = {"lr": ev.LogUniform(1e-3, 1.0), "width": ev.IntUniform(4, 64)}


class Walk(ev.Trainable):
    """A random walk whose steps grow with its learning rate: same job, same bytes."""

    work_s = 0.004

    def setup(self, hyperparameters: Mapping[str, Any], context: ev.Context) -> None:
        self.values = [random.Random(context.seed).random()]

    def apply(self, hyperparameters: Mapping[str, Any]) -> None:
        self.lr, self.width = hyperparameters["lr"], hyperparameters["width"]

    def train(self) -> dict[str, float]:
        draws = random.Random(self.job.seed)
        for step in range(3):
            self.values.append(self.values[-1] + self.lr * draws.gauss(0.1, 1.0) / self.width)
            self.job.log(step=step, value=self.values[-1])
            time.sleep(self.work_s / 3)
        return {"score": self.values[-1], "steps": len(self.values)}

    def save(self, directory: Path) -> None:
        (directory / "values.json").write_text(json.dumps(self.values))
        (directory / "about").mkdir()
        (directory / "about" / "applied.json").write_text(json.dumps([self.lr, self.width]))

    def load(self, directory: Path) -> None:
        self.values = json.loads((directory / "values.json").read_text())


class Quick(Walk):
    """The same walk without the wait."""

    work_s = 0.0


class Held(Walk):
    """Waits where a file `hold-at-save-m1r2` asks for it, once, until `held-at-…` is gone."""

    def train(self) -> dict[str, float]:
        metrics = super().train()
        self._hold("train")
        return metrics

    def save(self, directory: Path) -> None:
        (directory / "values.json").write_text("[0.1, 0.2")
        self._hold("save")
        super().save(directory)

    def _hold(self, place: str) -> None:
        home = Path(os.environ[HOME])
        wanted = home / f"hold-at-{place}-{self.job.id}"
        if wanted.exists():
            held = wanted.rename(home / f"held-at-{place}-{self.job.id}")
            while held.exists():
                time.sleep(0.002)


class Megabyte(Walk):
    """Saves half a megabyte: fills a small disk quickly."""

    def save(self, directory: Path) -> None:
        super().save(directory)
        (directory / "ballast").write_bytes(bytes([int(self.job.id.round)]) * (1 << 19))


def returns_nothing(job: ev.Job) -> Any:
    job.heartbeat()


def returns_text(job: ev.Job) -> Any:
    return {"score": "high"}


def returns_another_name(job: ev.Job) -> Any:
    return {"accuracy": 0.5}


def returns_a_list(job: ev.Job) -> Any:
    return [0.5]


def returns_a_vector(job: ev.Job) -> Any:
    return {"score": np.zeros(3)}


def returns_nan(job: ev.Job) -> Any:
    return {"score": float("nan")}


def returns_infinity(job: ev.Job) -> Any:
    return {"score": float("inf")}


def nan_in_member_0(job: ev.Job) -> Any:
    (job.directory / "weights").write_text(job.id)
    return {"score": float("nan") if job.id == "m0r1" else float(job.member)}

"""Jobs that do next to nothing: what is left is what evolvent does for each of them."""

from __future__ import annotations

import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import evolvent as ev

SPACE: dict[str, Any] = {"lr": ev.LogUniform(1e-4, 1.0), "momentum": ev.Uniform(0.0, 1.0)}


def function(job: ev.Job) -> dict[str, float]:
    """Load four bytes if there are any, save four."""
    if job.checkpoint is not None:
        (job.checkpoint / "state").read_bytes()
    (job.directory / "state").write_bytes(job.seed.to_bytes(4, "little"))
    return {"score": job.hyperparameters["lr"]}


class Form(ev.Trainable):
    """The same as a class."""

    def setup(self, hyperparameters: Mapping[str, Any], context: ev.Context) -> None: ...

    def apply(self, hyperparameters: Mapping[str, Any]) -> None:
        self.lr = hyperparameters["lr"]

    def train(self) -> dict[str, float]:
        return {"score": self.lr}

    def save(self, directory: Path) -> None:
        (directory / "state").write_bytes(self.job.seed.to_bytes(4, "little"))

    def load(self, directory: Path) -> None:
        (directory / "state").read_bytes()


def main() -> None:
    """Print the microseconds of a worker's time that one job took."""
    task = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory(dir=task["home"], prefix=".bench-") as home:
        study = ev.create_study(
            "jobs",
            metric="score",
            mode="max",
            population=task["members"],
            rounds=task["rounds"],
            space=SPACE,
            store=f"sqlite:///{home}/study.db",
            durability="process",
        )
        study.run(
            Form if task["form"] == "class" else function, workers=task["workers"], progress=False
        )
        print(seconds_a_job(study.jobs()) * 1e6)


def seconds_a_job(jobs: Iterable[ev.JobRecord]) -> float:
    """Return it by the log: what comes before a worker's first job is no part of it."""
    spans: dict[str | None, list[tuple[float, float]]] = defaultdict(list)
    for job in jobs:
        spans[job.worker].append((job.started_at or 0.0, job.finished_at or 0.0))
    busy = [max(end for _, end in own) - min(own)[0] for own in spans.values()]
    return sum(busy) / sum(map(len, spans.values()))


if __name__ == "__main__":
    main()

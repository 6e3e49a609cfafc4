"""evolvent: the same members, rounds, compute and checkpoint, bred by PBT."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import evolvent as ev
from _work import Model, bytes_below, first_step, mark_first_step


class Bench(ev.Trainable):
    """The shared work as a trainable."""

    def setup(self, hyperparameters: Mapping[str, Any], context: ev.Context) -> None:
        self.task = hyperparameters
        self.model = Model(hyperparameters["bytes"])

    def apply(self, hyperparameters: Mapping[str, Any]) -> None:
        self.lr = hyperparameters["lr"]

    def train(self) -> dict[str, float]:
        mark_first_step(self.task["directory"])
        return {"score": self.model.train(self.lr, products=self.task["products"])}

    def save(self, directory: Path) -> None:
        self.model.save(directory)

    def load(self, directory: Path) -> None:
        self.model.load(directory)


def main() -> None:
    task = json.loads(sys.argv[1])
    home = Path(task["directory"])
    study = ev.create_study(
        "overhead",
        metric="score",
        mode="max",
        population=task["members"],
        rounds=task["rounds"],
        space={
            "lr": ev.LogUniform(1e-4, 1.0),
            **{name: task[name] for name in ("bytes", "products", "directory")},
        },
        store=f"sqlite:///{home}/study.db",
        durability=task["durability"],
    )
    started = time.monotonic()
    study.run(Bench, workers=task["workers"], progress=False)
    ended = time.monotonic()
    first = first_step(task["directory"])
    left = bytes_below(home / "study.checkpoints")
    print(json.dumps({"train_s": ended - first, "first_step_s": first - started, "left": left}))


if __name__ == "__main__":
    main()

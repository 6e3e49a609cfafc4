"""What live objects save: set-ups, loads and seconds, by `keep_alive` and with or without `reset`.

A small convnet of PyTorch whose set-up takes a while (`--setup-ms`, as `torch.compile`, a data
loader or a program on a device does): 8 members, 5 rounds, one worker in this process. All arms
train the same rounds from the same seeds; each runs several times in turns, seconds are medians.

    python benchmarks/live_objects.py
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import evolvent as ev

SPACE: dict[str, Any] = {"lr": ev.LogUniform(1e-3, 1.0), "momentum": ev.Uniform(0.0, 0.99)}


class Net(ev.Trainable):
    """Two convolutions on random images; counts what is called."""

    setup_s = 0.0
    setups = loads = 0

    def setup(self, hyperparameters: Mapping[str, Any], context: ev.Context) -> None:
        type(self).setups += 1
        time.sleep(self.setup_s)
        self._fresh(context.seed)

    def _fresh(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.model = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 3), torch.nn.ReLU(),
            torch.nn.Conv2d(16, 16, 3), torch.nn.ReLU(),
            torch.nn.Flatten(), torch.nn.Linear(16 * 16, 10),
        )  # fmt: skip
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def apply(self, hyperparameters: Mapping[str, Any]) -> None:
        ev.torch.apply(self.optimizer, hyperparameters)

    def train(self) -> dict[str, float]:
        torch.manual_seed(self.job.seed)
        loss = torch.tensor(torch.nan)
        images, labels = torch.randn(64, 1, 8, 8), torch.randint(10, (64,))
        for _ in range(10):
            loss = torch.nn.functional.cross_entropy(self.model(images), labels)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return {"loss": loss.item()}

    def save(self, directory: Path) -> None:
        ev.torch.save(directory, model=self.model, optimizer=self.optimizer)

    def load(self, directory: Path) -> None:
        type(self).loads += 1
        ev.torch.load(directory, model=self.model, optimizer=self.optimizer)


class WithReset(Net):
    """A member that begins is moved into a live object, too."""

    def reset(self, hyperparameters: Mapping[str, Any]) -> None:
        self._fresh(self.job.seed)


ARMS: dict[str, tuple[type[Net], int]] = {
    "keep_alive=0": (Net, 0),
    "keep_alive=1": (Net, 1),
    "keep_alive=1, reset": (WithReset, 1),
    "keep_alive=8": (Net, 8),
    "keep_alive=8, reset": (WithReset, 8),
}


@dataclass(frozen=True, slots=True)
class Figures:
    """What one study took."""

    setups: int
    loads: int
    seconds: float


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    Net.setup_s = options.setup_ms / 1000
    run(*ARMS["keep_alive=0"], options)  # imports, and PyTorch's own first steps
    runs = [{arm: run(*how, options) for arm, how in ARMS.items()} for _ in range(options.repeat)]
    print(table(runs, options))


def run(kind: type[Net], keep_alive: int, options: argparse.Namespace) -> Figures:
    """Train one study from the beginning to the end."""
    kind.setups = kind.loads = 0
    with tempfile.TemporaryDirectory(dir=options.dir, prefix=".bench-") as home:
        study = ev.create_study(
            "live",
            metric="loss",
            mode="min",
            population=options.members,
            rounds=options.rounds,
            space=SPACE,
            store=f"sqlite:///{home}/study.db",
            durability="process",
        )
        started = time.monotonic()
        study.run(kind, workers=0, keep_alive=keep_alive, progress=False)
        return Figures(kind.setups, kind.loads, time.monotonic() - started)


def table(runs: list[dict[str, Figures]], options: argparse.Namespace) -> str:
    """Render set-ups and loads, and median seconds beside those of the first arm."""
    seconds = {arm: statistics.median(each[arm].seconds for each in runs) for arm in ARMS}
    most = seconds["keep_alive=0"]
    lines = [
        f"{options.members} members, {options.rounds} rounds, {options.setup_ms:g} ms of set-up, "
        f"median of {options.repeat}",
        f"{'':20} {'set-ups':>8} {'loads':>6} {'seconds':>8} {'ratio':>6}",
    ]
    for arm, last in runs[-1].items():
        took = f"{seconds[arm]:8.2f} {seconds[arm] / most:6.2f}"
        lines.append(f"{arm:20} {last.setups:8} {last.loads:6} {took}")
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--setup-ms", type=float, default=100.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--dir", help="where to write: a directory on the disk to be measured")
    return parser.parse_args()


if __name__ == "__main__":
    main()

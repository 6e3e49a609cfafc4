"""What PBT costs on top of training: evolvent beside the bare loop and, if asked, Ray Tune.

Every contender trains the same members for the same rounds in the same number of processes, with
the same arithmetic and the same checkpoint in every round. Contenders take turns; figures are
medians. `train_s` runs from the first training step of any process until the call returns.

    python benchmarks/overhead.py                        # evolvent and the bare loop
    python benchmarks/overhead.py --ray path/to/python   # and Ray Tune, with a Python that has it
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from _work import calibrated

HERE = Path(__file__).parent
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Contender:
    """A script, the Python it runs with, and what it is asked to survive."""

    script: str
    durability: str
    python: str = sys.executable

    @property
    def name(self) -> str:
        return f"{self.script} ({self.durability})"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run of a contender took."""

    train_s: float
    first_step_s: float
    left: int
    peak_rss: int


def main() -> None:
    options = _options()
    for compute_ms in options.compute_ms:
        products = calibrated(compute_ms / 1000)
        task = {
            "members": options.members,
            "rounds": options.rounds,
            "workers": options.workers,
            "bytes": options.bytes,
            "products": products,
        }
        runs = measure(contenders(options), task, repeat=options.repeat, home=options.dir)
        print(table(runs, task, compute_ms=compute_ms), flush=True)
        if options.json:
            plain = {c.name: [asdict(f) for f in figures] for c, figures in runs.items()}
            print(json.dumps({"compute_ms": compute_ms, "runs": plain}))


def contenders(options: argparse.Namespace) -> list[Contender]:
    ours = [Contender(s, d) for d in ("power", "process") for s in ("bare", "evolvent")]
    return ours + ([Contender("ray", "process", options.ray)] if options.ray else [])


def measure(
    asked: list[Contender], task: dict[str, Any], *, repeat: int, home: str | None
) -> dict[Contender, list[Figures]]:
    """Run all contenders in turn, `repeat` times over, each in a fresh process and directory."""
    runs: dict[Contender, list[Figures]] = defaultdict(list)
    for _ in range(repeat):
        for contender in asked:
            with tempfile.TemporaryDirectory(dir=home, prefix=".bench-") as directory:
                runs[contender].append(run(contender, {**task, "directory": directory}))
    return runs


def run(contender: Contender, task: dict[str, Any]) -> Figures:
    argument = json.dumps({**task, "durability": contender.durability})
    process = subprocess.Popen(
        [contender.python, str(HERE / f"_{contender.script}.py"), argument],
        stdout=subprocess.PIPE,
        text=True,
        env=ENV,
    )
    peak = [0]
    done = threading.Event()
    watcher = threading.Thread(target=_watch_memory, args=(process.pid, peak, done))
    watcher.start()
    out, _ = process.communicate()
    done.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{contender.name} ended with exit code {process.returncode}")
    return Figures(**json.loads(out.splitlines()[-1]), peak_rss=peak[0])


def _watch_memory(pid: int, peak: list[int], done: threading.Event) -> None:
    while not done.wait(0.5):
        total = 0
        try:
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
        peak[0] = max(peak[0], total)


def table(runs: dict[Contender, list[Figures]], task: dict[str, Any], *, compute_ms: float) -> str:
    """Render medians; `added` is per round and worker, over the bare loop that writes the same."""
    n_rounds = task["members"] * task["rounds"] / task["workers"]
    bare = {c.durability: _median(f, "train_s") for c, f in runs.items() if c.script == "bare"}
    lines = [
        f"\n{task['members']} members, {task['rounds']} rounds, {task['workers']} workers, "
        f"{compute_ms:g} ms of compute and a checkpoint of {task['bytes'] / 1e6:.1f} MB a round, "
        f"median of {len(next(iter(runs.values())))}, load average now {os.getloadavg()[0]:.1f}",
        f"{'':20} {'train s':>8} {'to bare':>8} {'added ms/round':>15} {'first step s':>13} "
        f"{'peak RSS MB':>12} {'left MB':>8}",
    ]
    for contender, figures in runs.items():
        train_s, base = _median(figures, "train_s"), bare[contender.durability]
        lines.append(
            f"{contender.name:20} {train_s:8.2f} {train_s / base:8.3f} "
            f"{(train_s - base) / n_rounds * 1000:15.2f} {_median(figures, 'first_step_s'):13.2f} "
            f"{_median(figures, 'peak_rss') / 1e6:12.0f} {_median(figures, 'left') / 1e6:8.1f}"
        )
    return "\n".join(lines)


def _median(figures: list[Figures], field: str) -> float:
    return statistics.median(float(getattr(f, field)) for f in figures)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bytes", type=int, default=1 << 20, help="size of a checkpoint")
    parser.add_argument("--compute-ms", type=float, nargs="+", default=[10.0, 100.0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--dir", help="where to write: a directory on the disk to be measured")
    parser.add_argument(
        "--ray", nargs="?", const=sys.executable, metavar="PYTHON", help="a Python that has Ray"
    )
    parser.add_argument("--json", action="store_true", help="print every run as JSON too")
    return parser.parse_args()


if __name__ == "__main__":
    main()

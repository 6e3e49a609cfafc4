"""How long a user waits: for `import evolvent`, `evolvent --help`, and the first training step.

python benchmarks/startup.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import evolvent as ev

REPEAT = 7
COMMAND = Path(sys.executable).with_name("evolvent")


def main() -> None:
    bare = figures([sys.executable, "-c", "pass"])
    imported = figures([sys.executable, "-c", "import evolvent"])
    helped = figures([str(COMMAND), "--help"])
    print(f"{'':28} {'wall s':>8} {'CPU s':>8} {'goal':>18}")
    row("python -c pass", *bare, goal="")
    row(
        "import evolvent, added", *(b - a for a, b in zip(bare, imported, strict=True)), goal="0.15"
    )
    row("evolvent --help", *helped, goal="0.4 of CPU")
    for workers in (1, 2):
        seconds = median(partial(first_step_s, workers))
        row(f"run to first step, {workers} worker{'s'[: workers - 1]}", seconds, None, goal="1")


def row(name: str, wall_s: float, cpu_s: float | None, *, goal: str) -> None:
    cpu = "" if cpu_s is None else f"{cpu_s:.3f}"
    print(f"{name:28} {wall_s:8.3f} {cpu:>8} {goal:>18}", flush=True)


def figures(command: list[str]) -> tuple[float, float]:
    """Return medians of wall and CPU seconds of a command."""
    runs = [timed(command) for _ in range(REPEAT)]
    return statistics.median(r[0] for r in runs), statistics.median(r[1] for r in runs)


def timed(command: list[str]) -> tuple[float, float]:
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{' '.join(command)} failed")
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime


def median(measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(REPEAT))


def first_step_s(workers: int) -> float:
    """Return seconds from the call of `run` to the first training step in a worker process."""
    with tempfile.TemporaryDirectory() as directory:
        study = ev.create_study(
            "startup",
            metric="score",
            mode="max",
            population=2,
            rounds=1,
            space={"lr": ev.LogUniform(1e-3, 1.0)},
            store=f"sqlite:///{directory}/study.db",
        )
        started = time.monotonic()
        result = study.run(note_the_time, workers=workers, progress=False)
        return -result.best.score - started


def note_the_time(job: ev.Job) -> dict[str, float]:
    """Report, as a score, when training began: the earliest is the best."""
    now = time.monotonic()
    (job.directory / "weights").write_bytes(b"0")
    return {"score": -now}


if __name__ == "__main__":
    main()

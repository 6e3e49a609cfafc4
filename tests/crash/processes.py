"""Real processes to be killed: drivers, their workers, and what a study looks like afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

import evolvent as ev
from evolvent.core.records import JobRecord
from evolvent.study import Study
from tests.crash.programs import HOME, SPACE

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0


def create(home: Path, **changes: Any) -> Study:
    """Write a small synchronous study into `home`."""
    settings = {
        "metric": "score",
        "mode": "max",
        "space": SPACE,
        "population": 6,
        "rounds": 8,
        "seed": 3,
        "algorithm": ev.PBT(ev.Truncation(0.34), ev.Perturb()),
        "synchronous": True,
        "store": url_in(home),
    }
    return ev.create_study("crash", **{**settings, **changes})


def url_in(home: Path) -> str:
    return f"sqlite:///{home}/study.db"


def log_of(study: Study) -> list[tuple[Any, ...]]:
    """Return what must be identical: everything but clocks, workers and attempts."""
    return sorted(_essence(job) for job in study.jobs() if job.state in ("done", "failed"))


def _essence(job: JobRecord) -> tuple[Any, ...]:
    return (
        job.id,
        str(job.state),
        job.parent,
        job.score,
        tuple(job.hyperparameters.items()),
        tuple(job.metrics.items()),
        job.checkpoint,
        job.parent_checkpoint,
        job.reason,
    )


def assert_complete(study: Study, *, population: int, rounds: int) -> None:
    """Every job is there once, and each went on from exactly what its parent had saved."""
    jobs = {str(job.id): job for job in study.jobs()}
    assert sorted(jobs) == sorted(f"m{m}r{r}" for m in range(population) for r in range(rounds))
    for job in jobs.values():
        assert job.state == "done"
        if job.parent is not None:
            assert job.parent_checkpoint == jobs[job.parent].checkpoint
            assert job.metrics["steps"] == jobs[job.parent].metrics["steps"] + 3


def until(condition: Callable[[], Any], *, what: str) -> Any:
    """Look again and again until `condition` holds; return what it returned."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE_S:g} s in vain for {what}")
        time.sleep(0.002)
    return found


class Driver:
    """`study.run` in a process of its own."""

    def __init__(self, home: Path, trainable: str, *, workers: int, lease_s: float = 5.0) -> None:
        self._log = home / "driver.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.crash.driver", url_in(home)),
                    *(str(workers), f"tests.crash.programs:{trainable}", str(lease_s)),
                ],
                cwd=ROOT,
                env={**os.environ, HOME: str(home)},
                stdout=log,
                stderr=log,
            )

    def workers(self) -> list[psutil.Process]:
        """Return the living worker processes."""
        try:
            children = psutil.Process(self._process.pid).children()
        except psutil.NoSuchProcess:
            return []
        return [child for child in children if _alive(child)]

    def ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self) -> None:
        """Wait for a good end."""
        code = self._process.wait(PATIENCE_S)
        assert code == 0, self._log.read_text()

    def kill(self) -> None:
        """Kill -9 the driver alone."""
        self._process.kill()
        self._process.wait()

    def kill_all(self) -> None:
        """Kill -9 the driver and every worker at once: none may act on the death of another."""
        self._process.send_signal(signal.SIGSTOP)
        for worker in self.workers():
            kill(worker.pid)
        self.kill()


@contextlib.contextmanager
def driver(home: Path, trainable: str, *, workers: int, lease_s: float = 5.0) -> Iterator[Driver]:
    """Run a driver for the time of a block; nothing of it outlives the block."""
    running = Driver(home, trainable, workers=workers, lease_s=lease_s)
    try:
        yield running
    finally:
        if not running.ended():
            running.kill_all()


def kill(pid: int) -> None:
    """Kill -9 a process that may have ended by itself."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

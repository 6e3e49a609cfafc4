"""Training code for the tests of the engines: tiny, deterministic, importable in a worker."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import evolvent as ev
from evolvent.store.checkpoints import hashes


def climb(job: ev.Job) -> dict[str, float]:
    """Add `step` to a number that the checkpoint carries."""
    at = _read(job.checkpoint) + float(job.hyperparameters["step"]) * (1 + job.seed % 7 / 100)
    (job.directory / "at.json").write_text(json.dumps(at))
    return {"at": at, "seed": job.seed}


class Climb(ev.Trainable):
    """`climb` as a class; counts what the worker calls."""

    calls: list[str] = []  # noqa: RUF012 - the tests read it off the class

    def setup(self, hyperparameters: Mapping[str, Any], context: ev.Context) -> None:
        self.calls.append("setup")
        self.at = 0.0

    def apply(self, hyperparameters: Mapping[str, Any]) -> None:
        self.calls.append("apply")
        self.step = float(hyperparameters["step"])

    def train(self) -> dict[str, float]:
        self.calls.append("train")
        self.at += self.step * (1 + self.job.seed % 7 / 100)
        return {"at": self.at, "seed": self.job.seed}

    def save(self, directory: Path) -> None:
        self.calls.append("save")
        (directory / "at.json").write_text(json.dumps(self.at))

    def load(self, directory: Path) -> None:
        self.calls.append("load")
        self.at = _read(directory)


def raises(job: ev.Job) -> dict[str, float]:
    raise RuntimeError(f"no luck in {job.id}")


def raises_once(job: ev.Job) -> dict[str, float]:
    """Fail the first attempt at every job."""
    if job.attempt == 1:
        raise RuntimeError("first attempt")
    return climb(job)


def unlucky_member(job: ev.Job) -> dict[str, float]:
    """Member 0 always raises before it has copied another."""
    if job.member == 0 and job.checkpoint is None:
        raise RuntimeError("bad start")
    return climb(job)


def nan_first_round(job: ev.Job) -> dict[str, float]:
    result = climb(job)
    return {"at": float("nan")} if job.id == "m1r0" else result


def no_metric(job: ev.Job) -> dict[str, float]:
    return {"loss": 1.0}


def returns_none(job: ev.Job) -> None:
    return None


def returns_text(job: ev.Job) -> dict[str, Any]:
    return {"at": "high"}


def prints(job: ev.Job) -> dict[str, float]:
    print(f"hello from {job.id}")  # noqa: T201 - what users do
    return climb(job)


def logs(job: ev.Job) -> dict[str, float]:
    for step in range(3):
        job.log(step=step, loss=1.0 / (step + 1))
    return climb(job)


def dies_once(job: ev.Job) -> dict[str, float]:
    """Kill the own process at the first attempt at `m0r1`."""
    if job.id == "m0r1" and job.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return climb(job)


def first_member_dies(job: ev.Job) -> dict[str, float]:
    """Member 0 ends its process before it has copied another."""
    if job.member == 0 and job.checkpoint is None:
        os._exit(9)
    return climb(job)


def always_dies(job: ev.Job) -> dict[str, float]:
    os._exit(7)


def hangs_once(job: ev.Job) -> dict[str, float]:
    """Stop beating at the first attempt at `m0r1`."""
    job.heartbeat()
    if job.id == "m0r1" and job.attempt == 1:
        time.sleep(600)
    return climb(job)


def tells_threads(job: ev.Job) -> dict[str, float]:
    return climb(job) | {"threads": int(os.environ["OMP_NUM_THREADS"])}


def meets_the_other_device(job: ev.Job) -> dict[str, float]:
    """Wait in round 0 until a worker on another device trains at the same time."""
    marks = Path(os.environ["EVOLVENT_TEST_MARKS"])
    (marks / str(job.device).replace(":", "-")).touch()
    while len(list(marks.iterdir())) < 2:
        time.sleep(0.01)
    return climb(job) | {"device": int(str(job.device).partition(":")[2])}


def slow(job: ev.Job) -> dict[str, float]:
    time.sleep(0.3)
    return climb(job)


def ends_with_the_study(job: ev.Job) -> dict[str, float]:
    """The first job ends at once, every other one when the study has been stopped."""
    study = ev.load_study(store=os.environ["EVOLVENT_TEST_STORE"])
    while study.jobs("done") and study.status().stopped is None:
        job.heartbeat()
        time.sleep(0.02)
    return climb(job)


def _read(checkpoint: Path | None) -> float:
    return 0.0 if checkpoint is None else float(json.loads((checkpoint / "at.json").read_text()))


def look_at_hashes(job: ev.Job) -> dict[str, float]:
    """Say whether another worker sealed the checkpoint, and whether this one had to read it."""
    workers = Path(os.environ["EVOLVENT_TEST_WORKERS"])
    (workers / str(os.getpid())).touch()
    while len(os.listdir(workers)) < 2:  # or one worker does it all before the other is there
        job.heartbeat()
        time.sleep(0.01)
    foreign = hashed_here = False
    if job.checkpoint is not None:
        path = job.checkpoint / "pid"
        foreign = path.read_text().split()[0] != str(os.getpid())
        hashed_here = hashes._state(path.stat()) in hashes.HASHES._known
    (job.directory / "pid").write_text(f"{os.getpid()} {job.id}")
    time.sleep(0.01)  # so that both get jobs
    return {"at": float(job.member), "foreign": foreign, "read": foreign and hashed_here}


def forgets_to_save_once(job: ev.Job) -> dict[str, float]:
    """Save nothing in the first attempt at the second round of member 0."""
    result = climb(job)
    if str(job.id) == "m0r1" and job.attempt == 1:
        (job.directory / "at.json").unlink()
    return result


def saves_nothing(job: ev.Job) -> dict[str, float]:
    return {"at": 1.0}


def endless_error(job: ev.Job) -> dict[str, float]:
    raise ev.TrainableError("begin" + "\N{SNOWMAN}" * 2_000_000 + "end")

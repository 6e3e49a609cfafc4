"""How far one job walks through the house: the files of evolvent it enters, and the calls it makes.

Counted is one turn of a warm `Worker` that trains a function: from the end of one report to the end
of the next, so all of a claim, the start from a parent's checkpoint, training (of next to nothing,
into a checkpoint of one small file), sealing and the report with its decision, in every thread of
the process. A call is one frame of a function of evolvent that begins or goes on (a coroutine that
was waiting begins again; on Python 3.11 a comprehension is a function of its own). A move is a call
out of another file, of evolvent or not. Over HTTP client and server are one process, and what both
do is counted together. Whether a job copies, and when threads wake, is not the same for every job:
the figures are the medians of many.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import evolvent as ev
from evolvent.core.records import JobId
from evolvent.engines.worker import Worker, WorkerOptions
from evolvent.store.protocol import Store
from tests.service.threaded import service

PACKAGE = str(Path(ev.__file__).parent)
_POPULATION, _ROUNDS = 4, 12
_COLD = 2 * _POPULATION  # the first jobs import, connect and fill caches


@dataclass(frozen=True, slots=True)
class Walk:
    """What a job comes through: files of evolvent entered, calls, and those from another file."""

    files: int
    calls: int
    moves: int


@dataclass
class Tracer:
    """Notes every call into evolvent, and parts them by job."""

    jobs: list[list[tuple[str, str]]] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)

    def note(self, frame: FrameType, event: str, _: Any) -> None:
        """See `sys.setprofile`."""
        called = frame.f_code.co_filename
        if event == "call" and called.startswith(PACKAGE):
            caller = frame.f_back
            self.calls.append((called, caller.f_code.co_filename if caller is not None else ""))

    def end_job(self, _: JobId) -> None:
        """Let what follows belong to the next job."""
        self.jobs.append(self.calls)
        self.calls = []

    def median(self) -> Walk:
        """Return the figures of the job in the middle, each on its own."""
        warm = self.jobs[_COLD:]
        return Walk(
            files=statistics.median_low(len({called for called, _ in calls}) for calls in warm),
            calls=statistics.median_low(len(calls) for calls in warm),
            moves=statistics.median_low(sum(a != b for a, b in calls) for calls in warm),
        )


def over_sqlite() -> Walk:
    """Walk on a file of this machine."""
    with tempfile.TemporaryDirectory() as folder, closing(_file(folder)) as store, traced() as walk:
        _work(store, walk)
    return walk.median()


def over_http() -> Walk:
    """Walk to a service in a thread of this process, which keeps its store in a file."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(_file(folder)) as behind,
        traced() as walk,
        service(behind) as running,
    ):
        os.environ["EVOLVENT_TOKEN"] = running.token()
        os.environ["EVOLVENT_CACHE"] = f"{folder}/cache"
        with closing(ev.open_store(running.url)) as store:
            _work(store, walk)
    return walk.median()


@contextmanager
def traced() -> Iterator[Tracer]:
    """Trace this thread and all that are started within the block."""
    tracer = Tracer()
    threading.setprofile(tracer.note)
    sys.setprofile(tracer.note)
    try:
        yield tracer
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def train(job: ev.Job) -> dict[str, float]:
    """Add to a number that the checkpoint carries."""
    before = float((job.checkpoint / "sum").read_text()) if job.checkpoint else 0.0
    total = before + job.hyperparameters["step"]
    (job.directory / "sum").write_text(repr(total))
    return {"sum": total}


def _file(folder: str) -> Store:
    return ev.open_store(f"sqlite:///{folder}/walk.db")


def _work(store: Store, tracer: Tracer) -> None:
    study = ev.create_study(
        "walk",
        metric="sum",
        mode="max",
        space={"step": ev.LogUniform(0.1, 1.0)},
        population=_POPULATION,
        rounds=_ROUNDS,
        store=store,
    )
    # Without overlap: a report in the background would be counted for two jobs.
    options = WorkerOptions(name="walk", overlap=False, on_job=tracer.end_job)
    Worker(store, study.id, train, options).work()

"""Training code that does what a worker could do without."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import evolvent as ev
from tests.engines.trainables import Climb, climb


class Unspeakable(Exception):
    """Cannot be pickled and cannot say itself."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def __str__(self) -> str:
        raise RuntimeError("no words")


def _first(job: ev.Job) -> bool:
    return job.id == "m0r1" and job.attempt == 1


def exits(job: ev.Job) -> dict[str, float]:
    if _first(job):
        sys.exit(0)
    return climb(job)


def exits_hard(job: ev.Job) -> dict[str, float]:
    if _first(job):
        os._exit(0)
    return climb(job)


def raises_unspeakable(job: ev.Job) -> dict[str, float]:
    if _first(job):
        raise Unspeakable
    return climb(job)


def interrupts_itself(job: ev.Job) -> dict[str, float]:
    if _first(job):
        raise KeyboardInterrupt
    return climb(job)


def leaves_a_thread_and_breaks(job: ev.Job) -> dict[str, float]:
    """End the worker by an error nobody foresaw, with a thread that never ends."""
    if _first(job):
        threading.Thread(target=time.sleep, args=(600,)).start()
        raise KeyboardInterrupt
    return climb(job)


def closes_its_output(job: ev.Job) -> dict[str, float]:
    sys.stdout.close()
    sys.stderr.close()
    return climb(job)


def sends_its_output_elsewhere(job: ev.Job) -> dict[str, float]:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    time.sleep(0.5)
    return climb(job)


def prints_odd_things(job: ev.Job) -> dict[str, float]:
    os.write(1, b"\xff\xfe half a line")
    if job.id == "m1r1":
        os.write(1, b"x" * 3_000_000)
    return climb(job)


def wanders_off(job: ev.Job) -> dict[str, float]:
    os.chdir("/")
    return climb(job)


def has_helpers(job: ev.Job) -> dict[str, float]:
    """Compute in a forked process and in a spawned one."""
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.map(abs, [-1, 2]) == [1, 2]
    return climb(job)


def links(job: ev.Job) -> dict[str, float]:
    """Try to save what no checkpoint may hold."""
    (job.directory / "linked").symlink_to("/etc/hosts")
    return climb(job)


def links_in_the_first(job: ev.Job) -> dict[str, float]:
    return links(job) if job.id == "m0r0" else climb(job)


def logs_at_no_step(job: ev.Job) -> dict[str, float]:
    job.log(step=float("nan"), loss=1.0)
    return climb(job)


def hangs_in_silence(job: ev.Job) -> dict[str, float]:
    """Stop beating with the standard error closed."""
    job.heartbeat()
    if _first(job):
        sys.stderr.close()
        time.sleep(600)
    return climb(job)


def leaves_processes(job: ev.Job) -> dict[str, float]:
    """Start two that outlive this one, note their numbers, and train on for ever."""
    forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    forked.start()
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    note = Path(os.environ["EVOLVENT_TEST_MARKS"]) / job.id
    note.with_suffix(".tmp").write_text(f"{forked.pid} {started.pid} {os.getpid()}")
    note.with_suffix(".tmp").rename(note)
    time.sleep(600)
    return climb(job)


class ClosesBadly(Climb):
    def close(self) -> None:
        raise OSError("cannot let go")


class WantsArguments(Climb):
    def __init__(self, width: int) -> None:
        self.width = width

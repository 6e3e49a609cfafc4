"""Training code that leaves something to be done when its process ends; importable in a worker."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evolvent as ev
from tests.engines.trainables import climb

HOME = "EVOLVENT_TEST_ENDS"
"""Environment variable: the directory for what is written at the end, and for `go`."""

_open: list[Any] = []


def leaves_a_file_and_a_hook(job: ev.Job) -> dict[str, float]:
    """Keep a file open over all rounds, and write another one at exit."""
    if not _open:
        _open.append((_home() / f"rows-{os.getpid()}").open("w"))
        atexit.register((_home() / f"bye-{os.getpid()}").touch)
    _open[0].write(f"{job.id}\n")
    return climb(job)


def stops_its_study(job: ev.Job) -> dict[str, float]:
    if job.round == 1:
        ev.load_study(store=os.environ["EVOLVENT_TEST_STORE"]).stop()
    return leaves_a_file_and_a_hook(job)


def breaks_its_contract(job: ev.Job) -> dict[str, float]:
    return {} if job.round == 1 else leaves_a_file_and_a_hook(job)


def breaks_by_surprise(job: ev.Job) -> dict[str, float]:
    """End the worker by what is no `Exception`, once."""
    if job.id == "m0r1" and job.attempt == 1:
        raise KeyboardInterrupt
    return leaves_a_file_and_a_hook(job)


def waits_for_go(job: ev.Job) -> dict[str, float]:
    """Train until there is a file `go`."""
    scores = leaves_a_file_and_a_hook(job)
    (_home() / f"at-{job.id}").touch()
    _wait_for_go()
    return scores


def leans_on_a_helper(job: ev.Job) -> dict[str, float]:
    """Wait for a process of its own; raise when that has been ended by something else."""
    helper = multiprocessing.get_context("fork").Process(target=_wait_for_go)
    helper.start()
    scores = waits_for_go(job)
    helper.join()
    if helper.exitcode != 0:
        raise RuntimeError(f"the helper ended with {helper.exitcode}")
    return scores


def hangs_at_exit(job: ev.Job) -> dict[str, float]:
    return _once(job, lambda: atexit.register(time.sleep, 600))


def dies_at_exit(job: ev.Job) -> dict[str, float]:
    return _once(job, lambda: atexit.register(os.abort))


def leaves_a_thread(job: ev.Job) -> dict[str, float]:
    return _once(job, threading.Thread(target=time.sleep, args=(600,)).start)


def _once(job: ev.Job, act: Callable[[], object]) -> dict[str, float]:
    if not _open:
        act()
    return leaves_a_file_and_a_hook(job)


def _wait_for_go() -> None:
    while not (_home() / "go").exists():
        time.sleep(0.01)


def _home() -> Path:
    return Path(os.environ[HOME])

"""Training code that does what a worker could do without."""

from __future__ import annotations

import multiprocessing
import os
import signal
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


def forks_and_exits(job: ev.Job) -> dict[str, float]:
    if _is_child(exits_with=7):
        sys.exit(7)
    return climb(job)


def forks_and_returns(job: ev.Job) -> dict[str, float]:
    return {"at": -1.0} if _is_child(exits_with=0) else climb(job)


def forks_and_raises(job: ev.Job) -> dict[str, float]:
    if _is_child(exits_with=1):
        raise RuntimeError("in the child alone")
    return climb(job)


class ForksAndExits(Climb):
    """Its child must not close what the parent goes on with."""

    def train(self) -> dict[str, float]:
        self.process = os.getpid()
        if _is_child(exits_with=1):
            sys.exit("with words")
        return super().train()

    def close(self) -> None:
        if os.getpid() != self.process:
            os._exit(99)


def _is_child(*, exits_with: int) -> bool:
    """Fork; in the parent, wait for the child and see how it has ended."""
    pid = os.fork()
    if pid == 0:
        return True
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code != exits_with:
        raise RuntimeError(f"the child ended with {code}, not with {exits_with}")
    return False


def terminates_helpers(job: ev.Job) -> dict[str, float]:
    """End helpers as soon as they are there, as a pool does at the end of its block."""
    for _ in range(5):
        helper = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        helper.start()
        helper.terminate()
        helper.join()
    program = subprocess.Popen(["sleep", "60"])
    program.send_signal(signal.SIGINT)
    if (helper.exitcode, program.wait()) != (-signal.SIGTERM, -signal.SIGINT):
        raise RuntimeError(f"ended with {helper.exitcode} and {program.returncode}")
    return climb(job)

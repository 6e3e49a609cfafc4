"""Die at every step of something: `python -m tests.crash.sweep HOME TEMPLATE [work|extend]`.

From one template (a study that stands somewhere in its middle) it runs a worker again and again for
one job each, and kills it with signal 9 at its first, second, third, … step, until it gets through;
or, likewise, somebody who extends the study.
Steps are the calls into C that matter to what is on disk: the interpreter's profiler counts them as
they return, and product code knows nothing of it. Each run leaves its store in HOME/<step>.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import evolvent as ev
from evolvent.engines.worker import Worker, WorkerOptions
from evolvent.study import Study
from tests.crash.processes import url_in
from tests.crash.programs import Quick

EXTENDED_TO = 9
STEPS = {
    *("execute", "executemany", "commit", "rollback", "flock"),
    *("open", "write", "fsync", "fdatasync", "close", "chmod", "truncate"),
    *("mkdir", "rename", "replace", "link", "unlink", "rmdir"),
}


class Killer:
    """A profiler that kills its own process at step `at`."""

    def __init__(self, at: int) -> None:
        self._left = at
        self._lock = threading.Lock()

    def __call__(self, frame: FrameType, event: str, called: Any) -> None:
        if event == "c_return" and called.__name__ in STEPS:
            with self._lock:
                self._left -= 1
                if self._left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)


def worker_of(study: Study) -> Callable[[], object]:
    """Return what claims, trains and reports one job."""
    drain = threading.Event()
    options = WorkerOptions(drain=drain, on_job=lambda _: drain.set(), overlap=False)
    return Worker(study.store, study.id, Quick, options).work


WATCHED: dict[str, Callable[[Study], Callable[[], object]]] = {
    "work": worker_of,
    "extend": lambda study: lambda: study.extend(EXTENDED_TO),
}


def do_once(what: str, home: Path, *, killer: Killer) -> None:
    """Do it in this process, watched by `killer`."""
    watched = WATCHED[what](ev.load_study(store=url_in(home)))
    threading.setprofile(killer)
    sys.setprofile(killer)
    watched()
    sys.setprofile(None)
    os._exit(0)


def main() -> None:
    home, template, what = Path(sys.argv[1]), Path(sys.argv[2]), "".join(sys.argv[3:]) or "work"
    for step in count(1):
        copied = home / f"{step:04d}"
        shutil.copytree(template, copied)
        child = os.fork()
        if child == 0:
            do_once(what, copied, killer=Killer(step))
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == 0:
            shutil.rmtree(copied)
            break
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            raise SystemExit(f"the process of step {step} ended with status {status}")


if __name__ == "__main__":
    main()

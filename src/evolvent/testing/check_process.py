"""The check in a worker process: the same place, threads and `__main__` as rounds of a study have.

This is the driver's end; `check_child.py` is what the process does.
"""

from __future__ import annotations

import os
import selectors
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolvent.engines.local.options import LocalOptions
from evolvent.engines.local.pickling import pack_code
from evolvent.engines.local.process import WorkerProcess
from evolvent.engines.place.carried import Place
from evolvent.testing.check_proofs import CheckProgress
from evolvent.testing.check_report import Proof, Verdict, failed

CHECKING = "EVOLVENT_CHECK"
"""This variable of the environment is 1 while the check trains."""

_TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Audience:
    """Who is told what while a check is under way.

    Attributes:
        on_proof: called with every proof as soon as it is there.
        on_progress: called before every round.
        on_line: called with what training prints.
    """

    on_proof: Callable[[Proof], None]
    on_progress: Callable[[CheckProgress], None]
    on_line: Callable[[str], None]


def check_in_process(
    trainable: Any, space_or_sets: Any, audience: Audience, *, algorithm: Any, **options: Any
) -> tuple[Proof, ...]:
    """Check training code in a process of its own; return the proofs.

    Args:
        trainable: as a study takes it; a class or function of a script, too.
        space_or_sets: as `check_trainable` takes it.
        audience: is told.
        algorithm: of the study.
        options: the other arguments of `check_trainable`.

    Raises:
        EvolventError: what `check_trainable` has raised there.
    """
    place = Place.of(trainable)
    code = (algorithm, space_or_sets)
    packed = pack_code(trainable, code, known=place.names, rebound=place.rebound)
    return _in_process("evolvent.testing.check_child", place, packed, audience, options)


def check_loop(script: Path, audience: Audience, **options: Any) -> tuple[Proof, ...]:
    """Check a script that asks a study for jobs, in a process of its own; return the proofs.

    Args:
        script: run from its first line on; `sys.argv` is that of this process.
        audience: is told.
        options: as `check_in_process`.

    Raises:
        ConfigError: it cannot be read.
        EvolventError: what it has raised, other than in a job.
    """
    place = replace(Place.of(None), script=None, reruns=False)
    given = {**options, "script": str(script)}
    return _in_process("evolvent.testing.check_loop", place, pack_code(None, None), audience, given)


def _in_process(
    run: str, place: Place, packed: bytes, audience: Audience, options: dict[str, Any]
) -> tuple[Proof, ...]:
    with temporary_directory() as root:  # ours: the process may be killed
        task = {
            "run": run, "place": place, "pickled": packed, "check": {**options, "root": Path(root)},
            "hashes": None, "options": {},
        }  # fmt: skip
        return _proofs(task, audience)


def temporary_directory() -> tempfile.TemporaryDirectory[str]:
    """Return a directory for what is saved while a check trains; closing it removes all."""
    return tempfile.TemporaryDirectory(prefix="evolvent-check-", ignore_cleanup_errors=True)


def _proofs(task: dict[str, Any], audience: Audience) -> tuple[Proof, ...]:
    variables = LocalOptions(workers=1).thread_variables()
    worker = WorkerProcess(0, task, env={**os.environ, **variables, CHECKING: "1"})
    proofs: list[Proof] = []
    doing = "contract"
    try:
        for said in _messages(worker, audience.on_line):
            if "progress" in said:
                progress = CheckProgress(**said["progress"])
                doing = progress.doing
                audience.on_progress(progress)
            else:
                verdict = Verdict(said["proof"]["verdict"])
                proofs.append(Proof(**{**said["proof"], "verdict": verdict}))
                audience.on_proof(proofs[-1])
        if worker.error is not None:
            raise worker.error
        if not worker.clean:
            proofs.append(failed(doing, f"the process that trains: {worker.describe_exit()}"))
            audience.on_proof(proofs[-1])
    finally:
        worker.kill()
        worker.close()
    return tuple(proofs)


def _messages(worker: WorkerProcess, on_line: Callable[[str], None]) -> Any:
    """Yield what the process sends, until it has ended."""
    with selectors.DefaultSelector() as selector:
        for fd in worker.pipes:
            selector.register(fd, selectors.EVENT_READ)
        over = False
        while not over:
            selector.select(_TICK_S)
            over = worker.has_ended()  # before what is read last
            for line in worker.read():
                on_line(line)
            for fd in worker.at_end & selector.get_map().keys():
                selector.unregister(fd)  # its end would wake us again and again
            while worker.said:
                yield worker.said.popleft()
            worker.kill_if_overdue()

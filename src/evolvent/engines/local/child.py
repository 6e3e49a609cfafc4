"""The process of a local worker: `python -m evolvent.engines.local.child FD`, by `process.py`.

Standard input brings the task, then commands; its end means that the driver has died, and the
worker goes with it at once, with all that it has started. `FD` takes a line a second (a sign of
life) and, last, how its work has ended: a process that ends without a word has been ended by
something else. After it the interpreter ends as any does, with what training has left to be done
then; the driver sees to it that this does not take for ever.
Of the user's script only the top level is run, where it has a guard (`place/script.py`); what that
leaves out comes pickled (`pickling.py`).
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import gc
import io
import json
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from importlib import import_module
from typing import Any, NoReturn

from evolvent import errors
from evolvent.engines.job import Job
from evolvent.engines.signals import Drain, catch_interrupts, release_interrupts
from evolvent.validation import cut_middle

EXIT_ERROR = 3
EXIT_HUNG = 75
DRAIN = b"drain\n"
_KEPT_BYTES = 1 << 24
_MOST_MESSAGE = 50_000  # characters, of which JSON may make twelve each
_LONGEST_JOIN_S = 3.0

# Two threads write to the driver: a line must not come in the middle of another.
_status_lock = threading.Lock()


def main() -> int:
    """Work until the study is over; 0, or EXIT_ERROR after sending the driver what is wrong."""
    # Not the driver's alone: a queue or an init sends them to all processes of a job.
    drain = Drain()
    catch_interrupts(drain.set)
    release_interrupts()
    faulthandler.enable()
    atexit.register(_flush_files)  # the first to be registered is the last to be called
    control, status = _take_pipes(int(sys.argv[1]))
    for stream in (sys.stdout, sys.stderr):
        # Its driver reads UTF-8, whatever the terminal of that can show.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    # Whoever has freed a large block keeps memory for blocks of that size. Before, glibc would hand
    # the model of a few megabytes back whenever a member changes, and take it again page by page.
    bytes(_KEPT_BYTES)
    try:
        task = _read_task(control)
        threading.Thread(target=_read_commands, args=(control, drain), daemon=True).start()
        threading.Thread(target=_send_signs_of_life, args=(status,), daemon=True).start()
        _work(task, drain, status)
    except errors.EvolventError as e:
        field = {} if e.field is None else {"field": e.field}
        # Of training code too, so of any length; a line that is too long would be torn.
        message = cut_middle(str(e), _MOST_MESSAGE)
        _send(status, {"error": type(e).__name__, "message": message, **field})
        return EXIT_ERROR
    except BaseException:  # noqa: BLE001 - shown; the exit code says that it was not foreseen
        _send(status, {"broken": ""})
        traceback.print_exc()
        return 1
    _send(status, {"over": ""})
    return 0


def _take_pipes(status: int) -> tuple[io.BufferedReader, io.FileIO]:
    """Keep the control pipe for us; user code that reads its standard input finds it empty."""
    control = os.fdopen(os.dup(0), "rb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return control, io.FileIO(status, "w")


def _read_task(control: io.BufferedReader) -> dict[str, Any]:
    task: dict[str, Any] = pickle.load(control)  # from our own driver
    return task


def _read_commands(control: io.BufferedReader, drain: Drain) -> None:
    for command in control:
        if command == DRAIN:
            drain.set()
    # The pipe has ended, so the driver is dead: what training has started must not outlive it.
    # Only of a group of our own: started by hand, it would be the group of the user's shell.
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(EXIT_ERROR)


def _send_signs_of_life(status: io.FileIO) -> None:
    while True:
        _send(status, {})
        time.sleep(1.0)


def _send(status: io.FileIO, message: dict[str, Any]) -> None:
    try:
        with _status_lock:
            status.write(json.dumps(message).encode() + b"\n")
    except OSError:  # nobody reads any more: the driver is dead
        os._exit(EXIT_ERROR)


def _work(task: dict[str, Any], drain: Drain, status: io.FileIO) -> None:
    # Before anything else is imported, for the user's script may be what says how; and from now on
    # modules are found where the driver would.
    task["place"].enter()
    trainable, algorithm = _unpickle(task)
    task["place"].settle(warns=task["warns"])
    catch_interrupts(drain.set)  # again: the top level of a script may have put its own in place

    if "run" in task:  # something else than jobs of a study is to be done in this place
        run = import_module(task["run"]).run
        run(trainable, algorithm, task, lambda said: _send(status, {"said": said}))
        return

    from evolvent.engines.worker import Worker, WorkerOptions  # noqa: PLC0415 - see above
    from evolvent.store import open_store  # noqa: PLC0415
    from evolvent.store.checkpoints.hashes import HASHES  # noqa: PLC0415

    if task["hashes"] is not None:
        HASHES.share(task["hashes"])
    options = WorkerOptions(**task["options"], drain=drain, on_hang=_exit_hung)
    store = open_store(task["store"])
    if algorithm is not None:
        store.use_algorithm(task["study"], algorithm)
    Worker(store, task["study"], trainable, options).work()
    store.close()


def _unpickle(task: dict[str, Any]) -> tuple[Any, Any]:
    from evolvent.engines.local.pickling import unpack_code  # noqa: PLC0415 - see above
    from evolvent.engines.trainable import load_trainable  # noqa: PLC0415

    try:
        # Not kept, as it may be large.
        trainable, algorithm = unpack_code(task.pop("pickled"), warns=task["warns"])
    except Exception as e:
        message = f"the trainable cannot be loaded in a worker: {type(e).__name__}: {e}"
        raise errors.WorkerError(message) from e
    return load_trainable(trainable), algorithm


def _flush_files() -> None:
    """Write out what is left in buffers of files that training has not closed."""
    # At the end of a program they are closed with the module that holds them. What is unpacked here
    # is in no module: found in a cycle, a file is closed from either end, and may lose its buffer.
    for file in gc.get_objects():
        if issubclass(type(file), (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)):
            with contextlib.suppress(OSError, ValueError):  # closed, or its disk is full
                file.flush()


def _exit_hung(job: Job) -> None:
    """End a process whose training hangs: nothing else can end it."""
    try:
        sys.stderr.write(f"job {job.id} has not called heartbeat() for too long; where it hangs:\n")
        faulthandler.dump_traceback(all_threads=True)
        sys.stderr.flush()
    finally:  # training may have closed the stream
        os._exit(EXIT_HUNG)


def _end(code: int) -> NoReturn:
    """End as any program does, with what is left to be done then; in bounded time."""
    _flush_files()  # now, too: what comes next may hang
    begun = threading.Event()
    atexit.register(begun.set)  # the last to be registered is the first to be called
    threading.Thread(target=_end_beside_threads, args=(code, begun), daemon=True).start()
    sys.exit(code)


def _end_beside_threads(code: int, begun: threading.Event) -> None:
    """Do what is left to be done at exit although threads that training has started go on."""
    # An interpreter waits for them first, for ever if need be.
    if not begun.wait(_LONGEST_JOIN_S):
        atexit._run_exitfuncs()
        os._exit(code)


if __name__ == "__main__":
    _end(main())

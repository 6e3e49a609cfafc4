"""The process of a local worker: `python -m evolvent.engines.local.child FD`, by `process.py`.

Standard input brings the task, then commands; its end means that the driver has died, and the
worker goes with it at once, with all that it has started. `FD` takes a line a second (a sign of
life) and, last, how it ended: a process that ends without a word has been ended by something else.
Of the user's script only the top level is run, where it has a guard (`script.py`); what that leaves
out comes pickled (`pickling.py`).
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from typing import Any

from evolvent import errors
from evolvent.engines.job import Job

EXIT_ERROR = 3
EXIT_HUNG = 75
DRAIN = b"drain\n"
_KEPT_BYTES = 1 << 24

# Two threads write to the driver: a line must not come in the middle of another.
_status_lock = threading.Lock()


def main() -> int:
    """Work until the study is over; 0, or EXIT_ERROR after sending the driver what is wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    faulthandler.enable()
    control, status = _take_pipes(int(sys.argv[1]))
    for stream in (sys.stdout, sys.stderr):
        # Its driver reads UTF-8, whatever the terminal of that can show.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    # Whoever has freed a large block keeps memory for blocks of that size. Before, glibc would hand
    # the model of a few megabytes back whenever a member changes, and take it again page by page.
    bytes(_KEPT_BYTES)
    try:
        task = _read_task(control)
        drain = threading.Event()
        threading.Thread(target=_read_commands, args=(control, drain), daemon=True).start()
        threading.Thread(target=_send_signs_of_life, args=(status,), daemon=True).start()
        _work(task, drain)
    except errors.EvolventError as e:
        field = {} if e.field is None else {"field": e.field}
        _send(status, {"error": type(e).__name__, "message": str(e), **field})
        return EXIT_ERROR
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
    size = int.from_bytes(control.read(8), "little")
    task: dict[str, Any] = pickle.loads(control.read(size))  # from our own driver
    return task


def _read_commands(control: io.BufferedReader, drain: threading.Event) -> None:
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


def _send(status: io.FileIO, message: dict[str, str]) -> None:
    try:
        with _status_lock:
            status.write(json.dumps(message).encode() + b"\n")
    except OSError:  # nobody reads any more: the driver is dead
        os._exit(EXIT_ERROR)


def _work(task: dict[str, Any], drain: threading.Event) -> None:
    # Before anything else is imported, for the user's script may be what says how; and from now on
    # modules are found where the driver would.
    task["place"].enter()
    trainable, algorithm = _unpickle(task)
    task["place"].settle()

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
        trainable, algorithm = unpack_code(task["pickled"])
    except Exception as e:
        message = f"the trainable cannot be loaded in a worker: {type(e).__name__}: {e}"
        raise errors.WorkerError(message) from e
    return load_trainable(trainable), algorithm


def _exit_hung(job: Job) -> None:
    """End a process whose training hangs: nothing else can end it."""
    try:
        sys.stderr.write(f"job {job.id} has not called heartbeat() for too long; where it hangs:\n")
        faulthandler.dump_traceback(all_threads=True)
        sys.stderr.flush()
    finally:  # training may have closed the stream
        os._exit(EXIT_HUNG)


def _exit(code: int) -> None:
    """End now: threads of user code must not keep a worker alive that has nothing to do."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # training may have closed it
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    try:
        _exit(main())
    except BaseException:  # noqa: BLE001 - shown; the exit code says that it was not foreseen
        traceback.print_exc()
        _exit(1)

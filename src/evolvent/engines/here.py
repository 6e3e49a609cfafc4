"""One worker in this process: nothing is sent anywhere, a debugger works."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from evolvent.engines.observer import Observer
from evolvent.engines.opening import stop_for_all
from evolvent.engines.options import Ending, LocalOptions, deadline, out_of_time
from evolvent.engines.signals import interrupts
from evolvent.engines.trainable import AnyTrainable, import_trainable
from evolvent.engines.worker import Worker, WorkerOptions
from evolvent.store.protocol import Store

_LOOK_EVERY_S = 0.25


def run_here(
    store: Store,
    study: int,
    trainable: AnyTrainable | str,
    options: LocalOptions,
    observer: Observer,
) -> Ending:
    """Run until the study is over, interrupted, or out of time; as `run_local`."""
    drain = threading.Event()
    until = deadline(options.wall_time_s)
    ending, shown_at = Ending.OVER, 0.0

    def show(_: object) -> None:
        nonlocal ending, shown_at
        if until is not None and time.monotonic() > until and not drain.is_set():
            ending = Ending.TIME
            drain.set()
        if time.monotonic() - shown_at > _LOOK_EVERY_S:
            shown_at = time.monotonic()
            observer.update(store.status(study), lambda: store.members(study))

    def interrupt() -> None:
        nonlocal ending
        if drain.is_set():
            raise KeyboardInterrupt
        ending = Ending.INTERRUPTED
        drain.set()
        with contextlib.suppress(RuntimeError):  # the signal came amid a print of training code
            observer.line("finishing the running job; once more stops at once")

    def hang(job: object) -> None:
        observer.line(f"{job} has not called heartbeat() for {options.hang_s} s")

    worker_options = WorkerOptions(
        device=options.device(0),
        lease_s=options.lease_s,
        hang_s=options.hang_s,
        overlap=False,
        on_job=show,
        on_hang=hang,
        drain=drain,
    )
    loaded = import_trainable(trainable) if isinstance(trainable, str) else trainable
    with interrupts(interrupt), _torch_threads(options.threads):
        Worker(store, study, loaded, worker_options).work()
    if ending is Ending.TIME:
        stop_for_all(store, study, reason=out_of_time(options.wall_time_s))
    return ending


@contextlib.contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    """Give PyTorch, if the user has loaded it, the threads that a worker process would have."""
    torch: Any = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if torch:
            torch.set_num_threads(before)

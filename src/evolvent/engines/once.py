"""One job in this process, and no more."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from evolvent.core.records import JobId
from evolvent.engines.local import release_dead
from evolvent.engines.signals import interrupts
from evolvent.engines.trainable import AnyTrainable
from evolvent.engines.worker import Worker, WorkerOptions
from evolvent.store.protocol import Store


def run_once(
    store: Store,
    study: int,
    trainable: AnyTrainable,
    *,
    device: str | None,
    lease_s: float,
    tell: Callable[[str], None],
) -> JobId | None:
    """Wait for a job, run it and report it; return which, or None when the study is over.

    Ctrl-C while it runs changes nothing; twice hands the job back.

    Args:
        store: where the study is.
        study: its number.
        trainable: what runs the job.
        device: handed to it as `job.device`.
        lease_s: seconds after which the job goes to another, should this process be silent.
        tell: called with a line for the user.

    Raises:
        TrainableError: training code broke its contract; the job is back in the queue.
        KeyboardInterrupt: twice, or while it waited for a job.
    """
    release_dead(store, study)
    drain, ran = threading.Event(), list[JobId]()
    interrupted = False

    def done(job: JobId) -> None:
        ran.append(job)
        drain.set()

    def interrupt() -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        drain.set()
        with contextlib.suppress(RuntimeError):  # the signal came amid a print
            tell("finishing the running job; once more stops at once")

    options = WorkerOptions(
        device=device, lease_s=lease_s, hang_s=None, overlap=False, on_job=done, drain=drain
    )
    with interrupts(interrupt):
        Worker(store, study, trainable, options).work()
    if interrupted and not ran:
        raise KeyboardInterrupt
    return ran[0] if ran else None

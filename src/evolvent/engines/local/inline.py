"""One worker in this process: nothing is sent anywhere, a debugger works."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from evolvent.core.records import JobId
from evolvent.engines.local.lifecycle import release_dead, try_stop
from evolvent.engines.local.options import (
    LocalOptions,
    RunOutcome,
    deadline,
    finishing,
    out_of_grace,
    out_of_time,
)
from evolvent.engines.local.output import lasting_output
from evolvent.engines.local.threads import threads_of_workers
from evolvent.engines.observer import Observer
from evolvent.engines.signals import Drain, Grace, handle_interrupts
from evolvent.engines.trainable import AnyTrainable, load_trainable
from evolvent.engines.worker import Worker, WorkerOptions
from evolvent.errors import StoreError
from evolvent.store.protocol import Store

_UPDATE_EVERY_S = 0.25


def run_inline(
    store: Store,
    study: int,
    trainable: AnyTrainable | str,
    options: LocalOptions,
    observer: Observer,
) -> RunOutcome:
    """Run until the study is over, interrupted, or out of time; as `run_local`."""
    drain = Drain()
    until = deadline(options.wall_time_s)
    outcome, updated_at = RunOutcome.OVER, 0.0
    grace = Grace(options.grace_s)

    # Looked at between jobs only: nobody else is here to watch the clock while one trains.
    def on_job(_: object) -> None:
        nonlocal outcome, updated_at
        if until is not None and time.monotonic() > until and not drain.is_set():
            outcome = RunOutcome.TIME
            drain.set()
        if time.monotonic() - updated_at > _UPDATE_EVERY_S:
            updated_at = time.monotonic()
            with contextlib.suppress(StoreError):  # it is shown the next time
                observer.update(store.status(study), lambda: store.members(study))

    def on_interrupt() -> None:
        nonlocal outcome
        if drain.is_set():
            raise KeyboardInterrupt
        outcome = RunOutcome.INTERRUPTED
        drain.set()
        grace.begin()
        with contextlib.suppress(RuntimeError):  # the signal came amid a print of training code
            observer.line(finishing("job", options.grace_s))

    worker_options = WorkerOptions(
        device=options.device(0),
        lease_s=options.lease_s,
        hang_s=options.hang_s,
        keep_alive=options.keep_alive,
        overlap=False,  # all in this thread: `on_job` shows, and a debugger sees one thing
        on_job=on_job,
        on_hang=lambda job: observer.line(
            f"{job} has not called heartbeat() for {options.hang_s} s"
        ),
        drain=drain,
    )
    code = load_trainable(trainable)
    with (
        handle_interrupts(on_interrupt),
        threads_of_workers(options.thread_variables()),
        lasting_output(),
        _within(grace, options.grace_s, observer),
    ):
        Worker(store, study, code, worker_options).work()
    if outcome is RunOutcome.TIME:
        try_stop(store, study, reason=out_of_time(options.wall_time_s))
    return outcome


@contextlib.contextmanager
def _within(grace: Grace, grace_s: float | None, observer: Observer) -> Iterator[None]:
    """Let the run end when the time is over that a signal has left to it."""
    try:
        with grace:
            yield
    except KeyboardInterrupt:
        if not grace.is_over:  # the user's
            raise
        observer.line(f"the running job goes back: {out_of_grace(grace_s)}")


def run_one_job(
    store: Store,
    study: int,
    trainable: AnyTrainable,
    *,
    device: str | None,
    lease_s: float,
    show_line: Callable[[str], None],
) -> JobId | None:
    """Wait for a job, run it and report it; return which, or None when the study is over.

    Ctrl-C while it runs changes nothing; twice hands the job back.

    Args:
        store: where the study is.
        study: its number.
        trainable: what runs the job.
        device: handed to it as `job.device`.
        lease_s: seconds after which the job goes to another, should this process be silent.
        show_line: called with a line for the user.

    Raises:
        TrainableError: training code broke its contract; the job is back in the queue.
        KeyboardInterrupt: twice, or while it waited for a job.
    """
    release_dead(store, study)
    drain, finished = Drain(), list[JobId]()
    interrupted = False

    def on_job(job: JobId) -> None:
        finished.append(job)
        drain.set()

    def on_interrupt() -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        drain.set()
        with contextlib.suppress(RuntimeError):  # the signal came amid a print
            show_line(finishing("job", None))

    options = WorkerOptions(
        device=device, lease_s=lease_s, hang_s=None, overlap=False, on_job=on_job, drain=drain
    )
    with handle_interrupts(on_interrupt):
        Worker(store, study, trainable, options).work()
    # While it waited for a job there was none to finish: then one Ctrl-C is enough.
    if interrupted and not finished:
        raise KeyboardInterrupt
    return finished[0] if finished else None

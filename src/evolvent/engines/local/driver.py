"""Workers on this machine: processes that a driver starts, watches and replaces.

The driver holds no state of the study. Kill it and every worker ends; start it again and the study
goes on from its log.
"""

from __future__ import annotations

import os
import selectors
import time
from typing import Any

from evolvent.engines.local.inline import run_inline
from evolvent.engines.local.lifecycle import collect_leftovers, release_dead, try_stop
from evolvent.engines.local.options import (
    LocalOptions,
    RunOutcome,
    deadline,
    finishing,
    out_of_grace,
    out_of_time,
)
from evolvent.engines.local.pickling import pack_code
from evolvent.engines.local.process import WorkerProcess
from evolvent.engines.observer import Observer
from evolvent.engines.place.carried import Place
from evolvent.engines.place.shared_models import warn_of_shared_models
from evolvent.engines.signals import handle_interrupts
from evolvent.engines.trainable import AnyTrainable
from evolvent.errors import EvolventError, WorkerError
from evolvent.store.checkpoints.hashes import shared_memory
from evolvent.store.connect import secret_url
from evolvent.store.protocol import Store
from evolvent.store.records import Failure, FailureKind, StudyState

_STOPPED = "the run was stopped"
_TICK_S, _CHECK_EVERY_S = 0.05, 0.25
_LEAST_SILENCE_S = 10.0  # at least so long without a sign of life, which comes once a second
_EXTRA_CRASHES, _MAX_KILLS = 5, 25  # in a row, with no job finished in between


def run_local(
    store: Store,
    study: int,
    trainable: AnyTrainable | str,
    *,
    options: LocalOptions,
    observer: Observer,
) -> RunOutcome:
    """Run workers on this machine until the study is over, interrupted, or out of time.

    Raises:
        TrainableError: training code broke its contract; mend it and run again.
        WorkerError: workers die faster than they work.
        KeyboardInterrupt: at the second Ctrl-C; all running jobs are back in the queue.
    """
    release_dead(store, study)
    collect_leftovers(store, study)
    warn_of_shared_models(trainable)
    observer.start(store.status(study))
    if options.workers == 0:
        return run_inline(store, study, trainable, options, observer)
    return _Driver(store, study, trainable, options, observer).run()


class _Driver:
    def __init__(
        self,
        store: Store,
        study: int,
        trainable: AnyTrainable | str,
        options: LocalOptions,
        observer: Observer,
    ) -> None:
        self._store, self._study, self._options, self._observer = store, study, options, observer
        record, place = store.status(study).record, Place.of(trainable)
        self._task: dict[str, Any] = {
            "store": secret_url(store),
            "study": study,
            "place": place,
            "pickled": pack_code(
                trainable, record.algorithm, known=place.names, rebound=place.rebound
            ),
        }
        self._workers: list[WorkerProcess] = []
        self._selector = selectors.DefaultSelector()
        self._error: EvolventError | None = None
        self._interrupts = 0
        self._draining = False
        self._grace_ends: float | None = None
        self._outcome = RunOutcome.OVER
        self._deaths = 0
        # The jobs at hand may use up all their attempts before the code is to blame.
        self._max_crashes = (record.max_failures + 1) * options.workers + _EXTRA_CRASHES
        self._finished = -1

    def run(self) -> RunOutcome:
        until = deadline(self._options.wall_time_s)
        try:
            with handle_interrupts(self._on_interrupt), shared_memory() as self._task["hashes"]:
                for slot in range(self._options.workers):
                    self._start_worker(slot)
                self._watch(until)
        finally:
            # First the processes, then their jobs: a worker that lives could still report one that
            # has been given back, and be refused.
            for worker in self._workers:
                worker.kill()
                self._close(worker)
            reason = out_of_grace(self._options.grace_s) if self._is_grace_over else _STOPPED
            failure = Failure(FailureKind.RETURNED, reason)
            for worker in self._workers:
                self._store.release(self._study, worker=worker.name, failure=failure)
        if self._error is not None:
            raise self._error
        return self._outcome

    def _start_worker(self, slot: int) -> None:
        options = {
            "device": self._options.device(slot),
            "lease_s": self._options.lease_s,
            "hang_s": self._options.hang_s,
            "keep_alive": self._options.keep_alive,
        }
        # In the environment, because libraries read these when they are loaded and never again.
        environment = {**os.environ, **self._options.variables(slot)}
        worker = WorkerProcess(slot, {**self._task, "options": options}, env=environment)
        self._workers.append(worker)
        if self._draining:  # started too late to claim anything
            worker.drain()
        for fd in worker.pipes:
            self._selector.register(fd, selectors.EVENT_READ)

    def _watch(self, until: float | None) -> None:
        checked_at = 0.0
        while self._workers:
            # Not only pipes wake us: an exit does not, where a child of training holds them open.
            self._selector.select(_TICK_S)
            if self._interrupts and self._outcome is not RunOutcome.INTERRUPTED:
                self._drain_on_interrupt()
            if self._is_grace_over:
                self._observer.line(
                    f"the running jobs go back: {out_of_grace(self._options.grace_s)}"
                )
                return
            for worker in list(self._workers):
                self._check_worker(worker)
            if time.monotonic() - checked_at >= _CHECK_EVERY_S:
                checked_at = time.monotonic()
                self._check_study(until)

    def _check_worker(self, worker: WorkerProcess) -> None:
        self._print(worker)
        if worker.error is not None and self._error is None:
            self._abort(worker.error)  # the others may end while it does
        if worker.has_ended():
            self._handle_exit(worker)
        elif worker.work_ended is not None:
            worker.kill_if_overdue()
        # Suspended, or starved of memory: its lease runs out, but its slot would stay empty.
        elif time.monotonic() - worker.seen > max(3 * self._options.lease_s, _LEAST_SILENCE_S):
            self._observer.line(f"worker {worker.slot} is silent: replacing it")
            worker.kill()

    def _check_study(self, until: float | None) -> None:
        status = self._store.status(self._study)
        self._observer.update(status, lambda: self._store.members(self._study))
        # A job that came through says that workers can work: deaths are counted in a row.
        if status.n_finished != self._finished:
            self._finished, self._deaths = status.n_finished, 0
        if status.state is not StudyState.OPEN:  # over: the workers come to their ends
            return
        if until is not None and time.monotonic() > until and self._outcome is RunOutcome.OVER:
            self._outcome = RunOutcome.TIME
            reason = out_of_time(self._options.wall_time_s)
            if not try_stop(self._store, self._study, reason=reason):
                self._drain()

    def _handle_exit(self, worker: WorkerProcess) -> None:
        worker.kill()  # what it had started must not outlive it
        self._print(worker)  # its last lines may still be in the pipe
        self._close(worker)
        self._workers.remove(worker)
        exit_text = f"worker {worker.slot} {worker.describe_exit()}"
        if worker.clean:
            if not worker.exited_well:
                self._observer.line(exit_text)
            if not self._draining and self._store.status(self._study).state is StudyState.OPEN:
                # It alone was sent a signal that asks it to end.
                self._replace(worker, f"worker {worker.slot} was asked to end by a signal")
            return
        # Its job is given back now: the lease would let others wait until it runs out.
        self._store.release(
            self._study, worker=worker.name, failure=Failure(worker.failure_kind(), exit_text)
        )
        collect_leftovers(self._store, self._study)
        if worker.error is not None:
            self._abort(worker.error)
        elif self._error is None and self._outcome is not RunOutcome.INTERRUPTED:
            self._replace(worker, exit_text)

    def _replace(self, worker: WorkerProcess, exit_text: str) -> None:
        self._deaths += 1
        if self._deaths > (_MAX_KILLS if worker.killed else self._max_crashes):
            output = worker.tail()
            last = f"the last {exit_text}:\n{output}" if output else f"the last {exit_text}"
            self._abort(WorkerError(f"{self._deaths} workers in a row died at work; {last}"))
        elif self._store.status(self._study).state is StudyState.OPEN:
            self._observer.line(f"{exit_text}: replacing it")
            self._start_worker(worker.slot)

    def _abort(self, error: EvolventError) -> None:
        self._error = self._error or error
        self._drain()

    def _on_interrupt(self) -> None:
        """Note a signal, and no more: it may have come in the middle of anything."""
        self._interrupts += 1
        if self._interrupts > 1:
            raise KeyboardInterrupt

    def _drain_on_interrupt(self) -> None:
        self._outcome = RunOutcome.INTERRUPTED
        self._grace_ends = deadline(self._options.grace_s)
        self._observer.line(finishing("jobs", self._options.grace_s))
        self._drain()

    @property
    def _is_grace_over(self) -> bool:
        return self._grace_ends is not None and time.monotonic() > self._grace_ends

    def _drain(self) -> None:
        self._draining = True
        for worker in self._workers:
            worker.drain()

    def _print(self, worker: WorkerProcess) -> None:
        lines = worker.read()
        if self._options.log_dir is not None:
            self._log(worker, lines)
        else:
            for line in lines:  # of a bar that redraws itself, how it stands
                self._observer.line(f"worker {worker.slot} | {line.rpartition(chr(13))[2]}")
        for fd in worker.at_end & self._selector.get_map().keys():
            self._selector.unregister(fd)  # its end would wake us again and again

    def _log(self, worker: WorkerProcess, lines: list[str]) -> None:
        assert self._options.log_dir is not None  # asked by the caller
        path = self._options.log_dir / f"worker-{worker.slot}.log"
        try:
            if lines:
                with path.open("a", encoding="utf-8") as file:
                    file.writelines(f"{line}\n" for line in lines)
        except OSError as e:  # what cannot be written ends no training
            self._observer.line(f"{path}: {e.strerror}: {len(lines)} lines are lost")

    def _close(self, worker: WorkerProcess) -> None:
        for fd in worker.pipes & self._selector.get_map().keys():
            self._selector.unregister(fd)
        worker.close()

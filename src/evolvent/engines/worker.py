"""The worker: claim, load, apply, train, save, report; the same on every engine."""

from __future__ import annotations

import contextlib
import errno
import itertools
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

from evolvent.core.records import JobId
from evolvent.engines.attempt import Attempt
from evolvent.engines.job import Job
from evolvent.engines.lease import LeaseKeeper
from evolvent.engines.polling import PollBackoff
from evolvent.engines.runner import Runner, Verdict, failure_of, judge
from evolvent.engines.trainable import AnyTrainable
from evolvent.engines.worker_name import worker_name
from evolvent.errors import CheckpointError, EvolventError, LeaseLost
from evolvent.store.protocol import Store
from evolvent.store.records import Failure, FailureKind, Lease, StudyState, Wait

# Measured: below it, two threads of one interpreter cost more than they hide.
_OVERLAP_FROM_S = 0.005
# Who claims while its report is under way decides without it: of few members that is too many.
_OVERLAP_FROM_MEMBERS = 4
_worker_numbers = itertools.count()
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_PROBE_BYTES = 1 << 20  # a full disk may have room for a few more
_OPEN = StudyState.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker behaves.

    Attributes:
        name: how the log calls it; unique among living workers.
        device: handed to training code as `job.device`.
        lease_s: seconds after which the job of a silent worker is given to another.
        hang_s: seconds of silence after a first `job.heartbeat()` that count as a hang; None: any.
        keep_alive: so many live objects of a class; 0: one, which is not moved between members.
        overlap: seal and report a job while the next one trains, where that takes long and one
            report more or less does not matter to who decides.
        on_job: called with the id of every job that was reported or failed.
        on_hang: called, in another thread, when training hangs.
        drain: set it to let the worker end after the job it runs.
    """

    name: str = field(default_factory=lambda: worker_name(f"w{next(_worker_numbers)}"))
    device: str | None = None
    lease_s: float = 30.0
    hang_s: float | None = 600.0
    keep_alive: int = 1
    overlap: bool = True
    on_job: Callable[[JobId], None] = lambda _: None
    on_hang: Callable[[Job], None] = lambda _: None
    drain: Event = field(default_factory=Event)


class Worker:
    """Claims jobs of one study and runs them until the study is over or the worker is drained.

    What takes long to seal and report (a large checkpoint, a slow disk, a far store) is sent in the
    background while the next job trains; at most two jobs are in hand at any time. What is quick is
    done at once: two threads of one interpreter would cost more than they hide.
    """

    def __init__(
        self, store: Store, study: int, trainable: AnyTrainable, options: WorkerOptions
    ) -> None:
        self._store, self._study, self._options = store, study, options
        self._record = record = store.status(study).record
        few = not record.synchronous and record.population < _OVERLAP_FROM_MEMBERS
        self._overlaps = options.overlap and not few
        self._runner = Runner(trainable, record, keep_alive=options.keep_alive)
        self._checkpoints = store.checkpoints(study)
        self._last_member: int | None = None
        self._pending: Future[None] | None = None
        self._finish_s = math.inf  # how long it took last to seal and report

    def work(self) -> None:
        """Run until there is nothing left to do.

        Raises:
            TrainableError: training code broke its contract; the job is back in the queue.
            EvolventError: the store or the disk cannot be used any more.
        """
        options = self._options
        keeper = LeaseKeeper(
            self._store, lease_s=options.lease_s, hang_s=options.hang_s, on_hang=options.on_hang
        )
        # One thread: reports go out in the order of their jobs. The keeper is the outer one: it
        # prolongs the lease of a report that is still under way when the last job is done.
        with keeper, ThreadPoolExecutor(1, thread_name_prefix="evolvent-report") as background:
            try:
                while lease := self._next_lease():
                    self._run_job(lease, keeper, background)
                self._await_report()
            except BaseException as e:
                self._release_all(e)
                raise
            finally:
                self._runner.close()

    def _next_lease(self) -> Lease | None:
        """Wait for the next job; None when the study is over or the worker is to end."""
        backoff: PollBackoff | None = None
        while not self._options.drain.is_set():
            lease = self._store.claim(
                self._study,
                worker=self._options.name,
                lease_s=self._options.lease_s,
                prefer=self._last_member,  # whose state is live here: it goes on without a load
                wait=Wait(0.0 if backoff is None else backoff.wait_s, self._options.drain),
            )
            if lease is not None:
                return lease
            if self._pending is not None:
                self._await_report()  # what it opens may be the next job
                continue
            # Nothing now is not the end: the report of another worker may open the next job.
            backoff = backoff or PollBackoff()
            if backoff.should_check_status() and self._store.status(self._study).state is not _OPEN:
                return None
            self._options.drain.wait(backoff.next_pause_s())
        return None

    def _run_job(self, lease: Lease, keeper: LeaseKeeper, background: ThreadPoolExecutor) -> None:
        self._last_member = lease.job.member
        if self._runner.holds(lease.job.parent):
            # Was the parent's report refused? Then what we hold live is in no log: what another
            # attempt reported is the parent, and is to be loaded.
            self._await_report()
        attempt = Attempt(self._checkpoints, self._record, lease, keeper)
        job = attempt.open(Job, device=self._options.device)
        try:
            verdict = self._train(attempt, job)
            if isinstance(verdict, Failure):
                verdict = self._excused(verdict)
        except BaseException as e:  # noqa: BLE001 - noted, and raised again by _fail where due
            # Closed before it is failed: points under way would be refused once it has failed.
            attempt.close(job, flush=isinstance(e, Exception))
            if not isinstance(e, LeaseLost):
                self._fail(attempt, e)
            return
        # The next job may train while this one is sealed: its silence is no hang.
        keeper.training_ended(job)
        if self._overlaps and self._finish_s > _OVERLAP_FROM_S:
            submitted = background.submit(self._finish, attempt, job, verdict)
            try:
                self._await_report()
            finally:  # should the one before have failed, this one is still reported
                self._pending = submitted
            return
        self._finish(attempt, job, verdict)
        self._await_report()

    def _train(self, attempt: Attempt, job: Job) -> Verdict:
        parent = attempt.lease.job.parent
        live = self._runner.holds(parent, job.hyperparameters)
        job.checkpoint = attempt.parent_path() if live else attempt.load()
        try:
            returned = self._runner.run(job, parent=parent)
        except OSError as e:
            # Every job would end so: no fault of this member. Unless it was another disk, such as
            # that of a log, or of what standard error goes to: that is training's own affair.
            if e.errno in _DISK_ERRORS and _takes_no_more(job.directory):
                raise CheckpointError(f"job {job.id} could not be saved: {e}") from e
            raise
        return judge(returned, self._record)

    def _finish(self, attempt: Attempt, job: Job, verdict: Verdict) -> None:
        """Seal and report, unless the lease was lost. May run in the background."""
        started_at = time.monotonic()
        try:
            attempt.finish(job, verdict)
        except LeaseLost:
            self._runner.distrust(job.id)
            return
        finally:
            attempt.close(job)
        self._finish_s = time.monotonic() - started_at
        self._options.on_job(job.id)

    def _await_report(self) -> None:
        """Wait for the report in the background, if there is one, and let its errors out."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _fail(self, attempt: Attempt, error: BaseException) -> None:
        """Note what training raised; what is no fault of this one job ends the worker too."""
        self._runner.distrust(attempt.lease.job.id)
        if not isinstance(error, Exception):
            raise error
        with contextlib.suppress(LeaseLost):  # another attempt counts: this failure does not
            attempt.fail(self._excused(failure_of(error)))
        # A broken contract, a full disk, a store that is gone: the next job would end the same way.
        if isinstance(error, EvolventError):
            raise error
        self._options.on_job(attempt.lease.job.id)

    def _excused(self, failure: Failure) -> Failure:
        """Return how it counts: not at all, once the worker has been asked to end."""
        # The signal that asked us may have ended processes that training leans on.
        if failure.kind is FailureKind.RAISED and self._options.drain.is_set():
            return replace(failure, kind=FailureKind.RETURNED)
        return failure

    def _release_all(self, error: BaseException) -> None:
        """Before the worker ends by an error: finish the report under way, return the other job."""
        with contextlib.suppress(Exception):  # it came second: `error` is what is raised
            self._await_report()
        failure = Failure(FailureKind.RETURNED, f"worker ended: {failure_of(error).message}")
        with contextlib.suppress(EvolventError):  # the store is what broke: the leases will run out
            self._store.release(self._study, worker=self._options.name, failure=failure)


def _takes_no_more(directory: Path) -> bool:
    """Whether nothing can be written into a directory, because of its disk."""
    probe = directory / ".evolvent-probe"
    try:
        probe.write_bytes(bytes(_PROBE_BYTES))
    except OSError as e:
        return e.errno in _DISK_ERRORS
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return False

"""The ask/tell form: jobs for code that owns its loop."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time

from evolvent.engines.attempt import Attempt
from evolvent.engines.job import Job
from evolvent.engines.lease import LeaseKeeper
from evolvent.engines.place.copies import WritableCopies
from evolvent.engines.place.working_directory import WorkingDirectory
from evolvent.engines.polling import PollBackoff
from evolvent.engines.runner import failure_of, judge
from evolvent.engines.worker_name import worker_name
from evolvent.errors import EvolventError, LeaseLost
from evolvent.store.protocol import Store
from evolvent.store.records import Lease, StudyState, Wait

_LEASE_S = 30.0

_logger = logging.getLogger("evolvent")


class AskedJob(Job):
    """A job that reports itself at the end of its `with` block.

    Set `job.metrics` inside the block. At its end the content of `job.directory` becomes the
    checkpoint and the job is done. An exception inside marks the attempt as failed and goes on
    its way; but when the lease is lost the block just ends, with a warning in the log, for another
    attempt counts. When the process dies, or lets go of the job, it is given out again. After the
    block the working directory is that of the claim.
    """

    _attempt: Attempt
    _place: WorkingDirectory
    _process: int
    _copies: WritableCopies

    def start(self, attempt: Attempt) -> None:
        """Find the checkpoint to start from; if there is none to be had, give the job back.

        Raises:
            LeaseLost: this attempt no longer counts, also because it was failed here.
        """
        self._attempt, self._process = attempt, os.getpid()
        self._place = WorkingDirectory()
        self._copies = WritableCopies(self.directory)
        attempt.keeper.__enter__()
        try:
            self.checkpoint = attempt.load()
        except BaseException as e:
            self.__exit__(type(e), e, e.__traceback__)
            raise

    def __enter__(self) -> AskedJob:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if os.getpid() != self._process:
            return False  # a process that training has forked leaves the block: the job goes on
        self._place.restore()
        self._copies.close()
        try:
            if error is None:
                self._attempt.finish(self, judge(self.metrics, self._attempt.study))
            elif not isinstance(error, LeaseLost):
                self._fail(error)
        except LeaseLost as e:
            error = e
        except BaseException as e:
            self._fail(e)  # at once: another worker need not wait for the lease to run out
            raise
        finally:
            try:
                self._attempt.close(self)
            finally:  # a second Ctrl-C while files are removed must not leave the thread of leases
                self._attempt.keeper.__exit__()
        if isinstance(error, LeaseLost):
            _logger.warning("%s", error)
            return True
        return False

    def _fail(self, error: BaseException) -> None:
        with contextlib.suppress(EvolventError):  # `error` is what is raised; the lease runs out
            self._attempt.keeper.drop(self, flush=True)
            self._attempt.fail(failure_of(error))


def ask(store: Store, study: int, *, wait: bool, timeout_s: float | None = None) -> AskedJob | None:
    """Claim a job; see `Study.next_job`."""
    deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
    backoff = PollBackoff()
    while True:
        wait_s = min(backoff.wait_s, deadline - time.monotonic()) if wait else 0.0
        lease = store.claim(study, worker=worker_name("ask"), lease_s=_LEASE_S, wait=Wait(wait_s))
        if lease is not None:
            job = _open_job(store, lease)
            if job is not None:
                return job
            continue
        if not wait or time.monotonic() >= deadline or backoff.should_check_status():
            status = store.status(study)
            status.raise_failed_decision()
            if not wait or status.state is not StudyState.OPEN or time.monotonic() >= deadline:
                return None
        time.sleep(backoff.next_pause_s())


def _open_job(store: Store, lease: Lease) -> AskedJob | None:
    """Return the job of a lease; None when that is lost before a checkpoint is found."""
    keeper = LeaseKeeper(store, lease_s=_LEASE_S, hang_s=None, on_hang=lambda _: None)
    try:
        record = store.status(lease.study).record
        attempt = Attempt(store.checkpoints(lease.study), record, lease, keeper)
    except EvolventError as e:
        with contextlib.suppress(EvolventError):
            store.fail(lease, failure_of(e))
        raise
    job = attempt.open(AskedJob)
    try:
        job.start(attempt)
    except LeaseLost:
        return None
    return job

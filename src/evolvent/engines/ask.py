"""The ask/tell form: jobs for code that owns its loop."""

from __future__ import annotations

import time
import traceback
from types import TracebackType
from typing import Any

from evolvent.core.study import StudyRecord
from evolvent.engines.identity import worker_name
from evolvent.engines.job import Job
from evolvent.engines.keeper import LeaseKeeper
from evolvent.engines.loading import starting_point
from evolvent.engines.runner import judge
from evolvent.engines.worker import job_fields
from evolvent.errors import EvolventError, LeaseLost
from evolvent.store.protocol import Failure, FailureKind, Lease, Report, Store, StudyState

_POLL_S, _LEASE_S = 0.05, 30.0


class AskedJob(Job):
    """A job that reports itself at the end of its `with` block.

    Set `job.metrics` inside the block. At its end the content of `job.directory` becomes the
    checkpoint and the job is done. An exception inside marks the attempt as failed and goes on
    its way. When the process dies, the job is given out again.
    """

    def __init__(self, store: Store, lease: Lease, record: StudyRecord, **fields: Any) -> None:
        super().__init__(**fields)
        self._store, self._lease, self._record = store, lease, record
        self._keeper = LeaseKeeper(store, lease_s=_LEASE_S, hang_s=None, on_hang=lambda _: None)
        self._keeper.hold(lease, self)
        self._keeper.__enter__()

    def __enter__(self) -> AskedJob:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._report()
            else:
                self._fail(error)
        finally:
            self._let_go()

    def _report(self) -> None:
        try:
            verdict = judge(self.metrics, self._record)
        except EvolventError as e:
            self._fail(e)
            raise
        if isinstance(verdict, Failure):
            self._store.fail(self._lease, verdict)
            return
        address = self._store.checkpoints(self._lease.study).seal(self.directory)
        self._keeper.drop(self)
        score, metrics = verdict
        self._store.report(self._lease, Report(score, metrics, address, self.take_points()))

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, LeaseLost):
            return
        returned = isinstance(error, EvolventError) or not isinstance(error, Exception)
        kind = FailureKind.RETURNED if returned else FailureKind.RAISED
        text = "".join(traceback.format_exception(error))
        self._store.fail(self._lease, Failure(kind, f"{type(error).__name__}: {error}", text))

    def _let_go(self) -> None:
        self._keeper.drop(self)
        self._keeper.__exit__(None, None, None)
        self._store.checkpoints(self._lease.study).drop(self.directory)


def ask(store: Store, study: int, *, wait: bool, timeout_s: float | None = None) -> AskedJob | None:
    """Claim a job; see `Study.next_job`."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        lease = store.claim(study, worker=worker_name("ask"), lease_s=_LEASE_S)
        if lease is not None:
            job = _hand_out(store, lease)
            if job is not None:
                return job
            continue
        over = store.status(study).state is not StudyState.OPEN
        if over or not wait or (deadline is not None and time.monotonic() > deadline):
            return None
        time.sleep(_POLL_S)


def _hand_out(store: Store, lease: Lease) -> AskedJob | None:
    record = store.status(lease.study).record
    checkpoints = store.checkpoints(lease.study)
    try:
        lease, checkpoint = starting_point(store, lease)
    except LeaseLost:
        return None
    staged = checkpoints.stage(f"{lease.job.id}a{lease.attempt}")
    job = AskedJob(store, lease, record, **job_fields(record, lease, staged))
    job.checkpoint = checkpoint
    return job

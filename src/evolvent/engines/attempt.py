"""One attempt at a job: from its lease and what it starts from, to its report or its failure."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from evolvent.core.records import JobId
from evolvent.core.rng import training_seed
from evolvent.core.study import StudyRecord
from evolvent.engines.job import Job
from evolvent.engines.lease import LeaseKeeper, send_points
from evolvent.engines.place import copies
from evolvent.engines.runner import Verdict
from evolvent.engines.shape_mismatch import is_mismatch, with_cure
from evolvent.errors import (
    CheckpointDamaged,
    CheckpointError,
    CheckpointMissing,
    EvolventError,
    LeaseLost,
    StoreError,
)
from evolvent.store.checkpoints.hashes import HASHES
from evolvent.store.checkpoints.manifest import address_of
from evolvent.store.checkpoints.protocol import CheckpointStore
from evolvent.store.records import Failure, FailureKind, Lease, Point, Report

_J = TypeVar("_J", bound=Job)
_logger = logging.getLogger("evolvent")
_SAVED_NOTHING = (
    "has saved nothing in its directory: its next round will begin anew, and a copy copies nothing"
)
_LOST_ALL = (
    "{} has saved nothing in its directory, although {}, from which it started, had: its weights "
    "would be lost; save into job.directory in every round"
)
_EMPTY = address_of(())
_GRACE_S = 60.0


class Attempt:
    """A lease, the job that training code sees under it, and the directory which it saves into.

    `open`, `load`, train, `finish` or `fail`, `close`.

    Attributes:
        study: the settings of the study.
        keeper: prolongs the lease, from `open` to `finish` or `close`.
        lease: the right to run the job; after a damaged checkpoint, with another parent.
        directory: what the job saves, to become its checkpoint.
    """

    # It does not refer to its job: an asked job refers to it, and the cycle would keep a job that
    # its user has dropped from going at once, by which the keeper learns that it was dropped.

    def __init__(
        self, checkpoints: CheckpointStore, study: StudyRecord, lease: Lease, keeper: LeaseKeeper
    ) -> None:
        self._store, self._checkpoints = keeper.store, checkpoints
        self.study, self.lease, self.keeper = study, lease, keeper
        self._id = lease.job.id
        self.directory = checkpoints.stage(f"{self._id}a{lease.job.attempt}")

    def open(self, kind: type[_J], *, device: str | None = None) -> _J:
        """Return the job as training code sees it; its lease is prolonged from now on."""
        job = kind(
            id=self._id,
            study=self.study.name,
            attempt=self.lease.job.attempt,
            # A copy, as training code may change it, and the log is to keep what it was.
            hyperparameters=self.study.space.given(self.lease.job.hyperparameters),
            checkpoint=None,
            directory=self.directory,
            seed=training_seed(self.study.seed, self._id.member, self._id.round),
            device=device,
        )
        self.keeper.hold(self.lease, job)
        return job

    def load(self) -> Path | None:
        """Return the checkpoint directory to start from, every byte of it checked.

        None for fresh weights. A damaged or missing checkpoint is answered by the nearest sound
        ancestor, and the log says so: the lease has another parent then. Without one the job
        counts as failed.

        Raises:
            LeaseLost: this attempt no longer counts, also because it was failed here.
        """
        job = self.lease.job
        if job.parent is None or job.parent_checkpoint is None:
            return None
        if job.attempt > 1:  # the last one failed: perhaps the disk has lost what was sound before
            HASHES.clear()
        try:
            return self._checkpoints.verify(job.parent_checkpoint)
        except (CheckpointDamaged, CheckpointMissing) as e:
            # Lost meanwhile? Then it is not damaged, but collected after the winner's report.
            self._store.heartbeat(self.lease, lease_s=_GRACE_S)
            return self._fall_back(job.parent, str(e))

    def parent_path(self) -> Path | None:
        """Return what `load` would, unchecked: a live trainable has what is in it already."""
        address = self.lease.job.parent_checkpoint
        return None if address is None else self._checkpoints.path(address)

    def finish(self, job: Job, verdict: Verdict) -> None:
        """Seal what the job has saved and report it; or note the failure that it came to.

        Raises:
            LeaseLost: this attempt no longer counts.
            CheckpointError: it cannot be saved.
        """
        if isinstance(verdict, Failure):
            self.keeper.drop(job, flush=True)
            self.fail(verdict)
            return
        address = self._seal()  # may take minutes, through which the lease is prolonged
        if address == _EMPTY:
            start = self.lease.job
            if start.parent is not None and start.parent_checkpoint not in {None, _EMPTY}:
                self.keeper.drop(job, flush=True)
                self.fail(Failure(FailureKind.RAISED, _LOST_ALL.format(start.id, start.parent)))
                return
            # Said once: code that saves does so in every job.
            if self._id == JobId(0, 0) and self.study.rounds > 1:
                _logger.warning("job %s %s", self._id, _SAVED_NOTHING)

        def send(points: Sequence[Point], offset: int) -> None:
            self._store.heartbeat(self.lease, lease_s=_GRACE_S, points=points, offset=offset)

        def report(points: Sequence[Point], offset: int) -> None:
            self._store.report(self.lease, Report(*verdict, address, points, offset))

        # From here on no heartbeat is under way: one after the report would be refused. Points
        # of which we do not know whether they are stored go with the report, which leaves out
        # those that are.
        n_stored = self.keeper.drop(job)
        try:
            send_points(send, job, after=n_stored, last=report)
        except CheckpointMissing:  # equal contents were there, and collected since
            self._seal_again()
            send_points(send, job, after=n_stored, last=report)

    def fail(self, failure: Failure) -> None:
        """Note that the attempt came to nothing.

        Raises:
            LeaseLost: it no longer counts anyway.
        """
        self._store.fail(self.lease, self._with_cure(failure))

    def close(self, job: Job, *, flush: bool = False) -> None:
        """Prolong the lease no more, and remove what was saved and did not become a checkpoint.

        With `flush`, what the job has logged since is sent; not needed after a report.
        """
        self.keeper.drop(job, flush=flush)
        self._checkpoints.drop(self.directory)

    def _fall_back(self, parent: JobId, damage: str) -> Path:
        for ancestor in reversed(self._store.lineage(self.lease.study, parent)[:-1]):
            if ancestor.checkpoint is None:
                continue
            try:
                directory = self._checkpoints.verify(ancestor.checkpoint)
            except (CheckpointDamaged, CheckpointMissing):
                continue
            reason = f"{damage}; started from {ancestor.id}, the nearest sound ancestor"
            self.lease = self._store.reparent(self.lease, parent=ancestor.id, reason=reason)
            _logger.warning("job %s: %s", self._id, reason)
            return directory
        message = f"{damage}; no ancestor of {parent} has a sound checkpoint left"
        self.fail(Failure(FailureKind.DAMAGED, message))
        raise LeaseLost(f"job {self._id}: {message}")

    def _with_cure(self, failure: Failure) -> Failure:
        job = self.lease.job
        failure = copies.explained(failure, self.parent_path(), self.directory)
        if job.parent is not None and is_mismatch(failure):
            with contextlib.suppress(EvolventError):  # the failure is what counts
                trained = self._store.job(self.lease.study, job.parent).hyperparameters
                return with_cure(failure, self.study, job, trained)
        return failure

    def _seal(self) -> str:
        try:
            return self._checkpoints.seal(self.directory)
        except CheckpointError:
            # What is not there has been swept, if the lease was lost: no fault of the disk.
            with contextlib.suppress(StoreError):  # the disk may be full for the store too
                self._store.heartbeat(self.lease, lease_s=_GRACE_S)
            raise

    def _seal_again(self) -> None:
        try:
            self._checkpoints.seal(self.directory)
        except CheckpointMissing as e:  # ours was the equal content, renamed away before
            message = f"the checkpoint of {self._id} was collected before it was reported"
            self.fail(Failure(FailureKind.RETURNED, message))
            raise LeaseLost(message) from e

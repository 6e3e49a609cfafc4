"""Where a job starts from: its parent's checkpoint, or the nearest ancestor's that is sound."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from evolvent.core.records import JobId
from evolvent.core.rng import training_seed
from evolvent.core.study import StudyRecord
from evolvent.engines.job import Job
from evolvent.errors import (
    CheckpointDamaged,
    CheckpointError,
    CheckpointMissing,
    LeaseLost,
    StoreError,
)
from evolvent.store.protocol import Store
from evolvent.store.records import Failure, FailureKind, Lease, Report

_GRACE_S = 60.0


def starting_point(store: Store, lease: Lease) -> tuple[Lease, Path | None]:
    """Return the checkpoint directory to load, every byte of it checked; None for fresh weights.

    A damaged or missing checkpoint is answered by the nearest sound ancestor, and the log says so:
    the lease that is returned has the new parent. Without one the job counts as failed.

    Raises:
        LeaseLost: this attempt no longer counts, also because it was failed here.
    """
    job = lease.job
    if job.parent is None or job.parent_checkpoint is None:
        return lease, None
    checkpoints = store.checkpoints(lease.study)
    try:
        return lease, checkpoints.verify(job.parent_checkpoint)
    except (CheckpointDamaged, CheckpointMissing) as e:
        store.heartbeat(lease, lease_s=60.0)  # lost meanwhile: then it is no damage but collected
        return _fall_back(store, lease, job.parent, str(e))


def _fall_back(store: Store, lease: Lease, parent: JobId, damage: str) -> tuple[Lease, Path]:
    checkpoints = store.checkpoints(lease.study)
    for ancestor in reversed(store.lineage(lease.study, parent)[:-1]):
        if ancestor.checkpoint is None:
            continue
        try:
            directory = checkpoints.verify(ancestor.checkpoint)
        except (CheckpointDamaged, CheckpointMissing):
            continue
        reason = f"{damage}; started from {ancestor.id}, the nearest sound ancestor"
        return store.reparent(lease, parent=ancestor.id, reason=reason), directory
    message = f"{damage}; no ancestor of {parent} has a sound checkpoint left"
    store.fail(lease, Failure(FailureKind.DAMAGED, message))
    raise LeaseLost(f"job {lease.job.id}: {message}")


def seal_leased(store: Store, lease: Lease, staged: Path) -> str:
    """Seal what a job has saved and return the address.

    Raises:
        LeaseLost: this attempt no longer counts, and what it saved has been swept.
        CheckpointError: it cannot be saved.
    """
    try:
        return store.checkpoints(lease.study).seal(staged)
    except CheckpointError:
        with contextlib.suppress(StoreError):  # the disk may be full for the store too
            store.heartbeat(lease, lease_s=_GRACE_S)
        raise


def report_sealed(store: Store, lease: Lease, report: Report, staged: Path) -> None:
    """Report a job whose checkpoint was sealed from `staged`."""
    try:
        store.report(lease, report)
    except CheckpointMissing:  # equal contents were there, and collected since
        _seal_again(store, lease, staged)
        store.report(lease, report)


def _seal_again(store: Store, lease: Lease, staged: Path) -> None:
    try:
        store.checkpoints(lease.study).seal(staged)
    except CheckpointMissing as e:  # ours was the equal content, renamed away before
        message = f"the checkpoint of {lease.job.id} was collected before it was reported"
        store.fail(lease, Failure(FailureKind.RETURNED, message))
        raise LeaseLost(message) from e


def open_job(record: StudyRecord, lease: Lease, staged: Path, *, device: str | None = None) -> Job:
    """Return the job of a lease as training code sees it; its checkpoint is still to be set."""
    return Job(**job_fields(record, lease, staged), device=device)


def job_fields(record: StudyRecord, lease: Lease, staged: Path) -> dict[str, Any]:
    """Return what a `Job` is made of."""
    return {
        "id": lease.job.id,
        "study": record.name,
        "attempt": lease.attempt,
        "hyperparameters": record.space.nest(lease.job.hyperparameters),
        "checkpoint": None,
        "directory": staged,
        "seed": training_seed(record.seed, lease.job.member, lease.job.round),
    }

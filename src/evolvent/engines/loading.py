"""Where a job starts from: its parent's checkpoint, or the nearest ancestor's that is sound."""

from __future__ import annotations

from pathlib import Path

from evolvent.core.records import JobId
from evolvent.errors import CheckpointDamaged, CheckpointMissing, LeaseLost
from evolvent.store.protocol import Store
from evolvent.store.records import Failure, FailureKind, Lease


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

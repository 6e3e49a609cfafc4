"""What the page of one job says: where it came from, why, what it logged, what it left."""

from __future__ import annotations

from typing import Any

from evolvent.analysis.explain import explain
from evolvent.core.records import JobId
from evolvent.errors import CheckpointError, EvolventError
from evolvent.store.protocol import Store
from evolvent.store.records import StudyStatus

_MOST_ANCESTORS = 200
_MOST_FAILURES = 10_000
_MOST_POINTS = 200
_COLLECTED = "It has been collected: nothing needed it any more, and no pin held it."


def job_page(store: Store, status: StudyStatus, id: JobId) -> dict[str, Any]:
    """Return what the page says.

    Raises:
        UnknownJob: there is none of that id.
    """
    job = store.job(status.id, id)
    line = store.lineage(status.id, id)[::-1]
    points = store.points(status.id, id)
    failures = [f for f in store.failures(status.id, limit=_MOST_FAILURES) if f.job == id]
    return {
        "job": job,
        "value": None if job.score is None else status.record.score(job.score),
        "line": line[:_MOST_ANCESTORS],
        "older": max(0, len(line) - _MOST_ANCESTORS),
        "points": points[-_MOST_POINTS:],
        "earlier": max(0, len(points) - _MOST_POINTS),
        "point_names": list(dict.fromkeys(name for point in points for name in point.values)),
        "failures": failures[::-1],
        "pinned": id in store.pins(status.id),
        **_explained(store, status, id),
        **_files(store, status, job.checkpoint),
    }


def _explained(store: Store, status: StudyStatus, id: JobId) -> dict[str, Any]:
    """Return the decision in words; a page that cannot have it still says everything else."""
    try:
        return {"told": explain(store, status, id), "untold": None}
    except EvolventError as e:
        return {"told": None, "untold": str(e)}


def _files(store: Store, status: StudyStatus, address: str | None) -> dict[str, Any]:
    if address is None:
        return {"files": [], "gone": "It has no checkpoint (yet)."}
    try:
        sizes = store.checkpoints(status.id).files(address)
    except CheckpointError as e:
        gone = "It has been collected: nothing needed it any more, and nobody had pinned it."
        return {
            "files": [],
            "gone": gone if address not in store.checkpoints(status.id) else str(e),
        }
    return {"files": list(enumerate(sorted(sizes.items()))), "gone": None}

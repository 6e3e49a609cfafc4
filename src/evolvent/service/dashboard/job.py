"""What the page of one job says: where it came from, why, what it logged, what it left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

from evolvent.analysis.explain.explain import explain
from evolvent.analysis.explain.sentences import last_line
from evolvent.core.records import JobId
from evolvent.display.words import shortened
from evolvent.errors import CheckpointError, EvolventError
from evolvent.store.protocol import Store
from evolvent.store.records import FailedAttempt, StudyStatus

_MOST_ANCESTORS = 200
_MOST_FAILURES = 10_000
_MOST_POINTS = 200
_MOST_OF_MESSAGE = 161  # with the sign that more was there


@dataclass(frozen=True, slots=True)
class Attempts:
    """Failed attempts one after the other that failed in the same way, the newest first.

    Attributes:
        message: how they failed, in one line; None where the page has said it already.
        traceback: None where there is none, or where the page shows it already.
    """

    each: Sequence[FailedAttempt]
    message: str | None
    traceback: str | None

    @property
    def title(self) -> str:
        first, last = self.each[-1].attempt, self.each[0].attempt
        return f"Attempt {last}" if first == last else f"Attempts {first} to {last}"


def job_page(store: Store, status: StudyStatus, id: JobId) -> dict[str, Any]:
    """Return what the page says.

    Raises:
        UnknownJob: there is none of that id.
    """
    job = store.job(status.id, id)
    lineage = store.lineage(status.id, id)[::-1]
    points = store.points(status.id, id)
    failures = [f for f in store.failures(status.id, limit=_MOST_FAILURES) if f.job == id]
    return {
        "job": job,
        "value": None if job.score is None else status.record.score(job.score),
        "line": lineage[:_MOST_ANCESTORS],
        "older": max(0, len(lineage) - _MOST_ANCESTORS),
        "points": points[-_MOST_POINTS:],
        "earlier": max(0, len(points) - _MOST_POINTS),
        "point_names": list(dict.fromkeys(name for point in points for name in point.values)),
        "attempts": list(attempts(failures[::-1], shown=job.error)),
        "pinned": id in store.pins(status.id),
        **_explanation(store, status, id, failures),
        **_files(store, status, job.checkpoint),
    }


def attempts(failures: Sequence[FailedAttempt], *, shown: str | None) -> Iterator[Attempts]:
    """Yield failed attempts, those together that failed in the same way.

    The newest come first; `shown` is the error of the job, which the page shows anyway.
    """
    for failure, same in groupby(failures, attrgetter("failure")):
        message = shortened(last_line(failure.message), _MOST_OF_MESSAGE)
        shown_already = shown is not None and failure.message == last_line(shown)
        traceback = None if failure.traceback == shown else failure.traceback
        yield Attempts(list(same), None if shown_already else message, traceback)


def _explanation(
    store: Store, status: StudyStatus, id: JobId, failures: Sequence[FailedAttempt]
) -> dict[str, Any]:
    """Return the decision in words; a page that cannot have it still says everything else.

    How attempts failed is left out of what came afterwards: the page has a place for it.
    """
    try:
        explanation = explain(store, status, id)
    except EvolventError as e:
        return {"explanation": None, "unexplained": str(e), "after": []}
    messages = tuple(f.failure.message for f in failures if f.failure.message)
    after = [sentence for sentence in explanation.after if not sentence.endswith(messages)]
    return {"explanation": explanation, "unexplained": None, "after": after}


def _files(store: Store, status: StudyStatus, address: str | None) -> dict[str, Any]:
    if address is None:
        return {"files": [], "gone": "It has no checkpoint (yet)."}
    try:
        sizes = store.checkpoints(status.id).files(address)
    except CheckpointError as e:
        reason = "It has been collected: nothing needed it any more, and nobody had pinned it."
        return {
            "files": [],
            "gone": reason if address not in store.checkpoints(status.id) else str(e),
        }
    return {"files": list(enumerate(sorted(sizes.items()))), "gone": None}

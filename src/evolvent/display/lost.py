"""Lost workers in plain words: a line for each of the newest."""

from __future__ import annotations

from collections.abc import Iterable

from evolvent.core.records import JobRecord
from evolvent.store.records import StudyStatus

_MOST = 3


def lost_lines(status: StudyStatus, jobs: Iterable[JobRecord]) -> list[str]:
    """Return what to say of those of the jobs that have lost their worker, the newest loss first.

    Args:
        status: how the study stands, read before the jobs.
        jobs: any; those that do not run are passed over.
    """
    lost = [(lost_s, job) for job in jobs if (lost_s := status.lost_s(job)) is not None]
    lost.sort(key=lambda found: (found[0], found[1].member))
    lines = [f"{job.id}: {status.lost_note(job)}" for _, job in lost[:_MOST]]
    more = len(lost) - len(lines)
    return [*lines, f"and {more} more"] if more else lines

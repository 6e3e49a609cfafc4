"""A whole study as values: what `dump` takes out of one store and `restore` puts into another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from evolvent.core.heads import Head
from evolvent.core.records import JobId, JobRecord
from evolvent.core.study import StudyRecord
from evolvent.errors import CheckpointMissing, UnknownJob
from evolvent.store.interventions import Intervention
from evolvent.store.records import FailedAttempt, Point, StoppedBy

Chosen: TypeAlias = Literal["best", "kept", "pinned", "none"] | Sequence[JobId]
"""Which checkpoints come along: the best job's; all that the study keeps, so that it can go on;
those of pinned jobs; none; or those of the jobs named."""

_MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class MemberDump:
    """A member with what concerns its open job.

    No lease travels: a running job is queued again as if this attempt had never begun.

    Attributes:
        head: never running.
        attempt: of how many attempts its open job has had.
        losses, failures: how many of them were lost, and raised.
        started_at: when the newest of them began; None when there was none.
        error: the last traceback, or what was wrong with the newest of them.
    """

    head: Head
    attempt: int = 0
    losses: int = 0
    failures: int = 0
    started_at: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class JobPoint:
    """A point that a job has logged."""

    job: JobId
    point: Point


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyDump:
    """A study as of one instant.

    What follows from the log is left out: the best job, addresses of parents' checkpoints, counts.
    Each of the long parts can be gone through once, in the order in which they stand here.

    Attributes:
        created_at, started_at: seconds since 1970 on the clock of the store it comes from.
        stopped: why it was stopped; None when it was not.
        pins: done jobs whose checkpoints the user wants to keep.
        interventions: what people did to it, in that order.
        members: by number, none left out.
        jobs: the finished ones, in the order of their reports.
        points: job after job, each in the order in which they were logged.
        failures: in the order in which they were noted.
    """

    record: StudyRecord
    created_at: float
    started_at: float | None
    stopped: str | None
    stopped_by: StoppedBy | None
    pins: Sequence[JobId]
    interventions: Sequence[Intervention]
    members: Iterable[MemberDump]
    jobs: Iterable[JobRecord]
    points: Iterable[JobPoint]
    failures: Iterable[FailedAttempt]

    def stopped_for(self, missing: Sequence[JobId]) -> tuple[str | None, StoppedBy | None]:
        """Return why, and by whom, the study is stopped in its new store.

        Args:
            missing: the jobs that members go on from and whose checkpoints did not come along.
        """
        if not missing:
            return (None, None) if self.stopped_by == "import" else (self.stopped, self.stopped_by)
        if self.stopped_by == "import":
            return self.stopped, self.stopped_by
        why = f"imported without the checkpoints of {listed(missing)}"
        return why if self.stopped is None else f"{self.stopped}; {why}", "import"


def cannot_go_on(name: str, missing: Sequence[JobId]) -> CheckpointMissing:
    """Return the error for an imported study that lacks what its members go on from."""
    return CheckpointMissing(
        f"study {name!r} cannot go on: it was imported without the checkpoints of "
        f"{listed(missing)}, which its members start from: import an archive that was made with "
        "`evolvent export --checkpoints kept`"
    )


def not_done(job: JobId, *, members: int, last: int | None) -> UnknownJob:
    """Return the error for a job whose checkpoint is wanted and that is not done.

    Args:
        job: the one that was asked for.
        members: how many the study has.
        last: the last round that the member of the job has done, if any.
    """
    if job.member >= members:
        there = f"there are members 0 to {members - 1}"
    else:
        done = "none" if last is None else f"jobs up to m{job.member}r{last}"
        there = f"member {job.member} has done {done}"
    return UnknownJob(f"no done job {job}, so no checkpoint of it: {there}")


def listed(jobs: Sequence[JobId]) -> str:
    """Return the first few jobs by name and how many more there are."""
    more = f" and {len(jobs) - _MAX_NAMED} more" if len(jobs) > _MAX_NAMED else ""
    return ", ".join(jobs[:_MAX_NAMED]) + more

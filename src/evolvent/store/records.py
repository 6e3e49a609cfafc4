"""What goes in and out of a store: leases, reports, failures, and how a study stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import StrEnum
from threading import Event
from typing import Literal, TypeAlias, get_args

from evolvent.core.records import JobId, JobRecord, JobState, Metrics
from evolvent.core.study import StudyRecord
from evolvent.errors import DecisionError, UnknownStudy
from evolvent.validation import check_choice, cut_middle

MAX_LOSSES = 25
"""A job that lost its worker so often (killed, hung, out of memory) counts as failed."""

LOST = "lost"
"""How people are shown the state of a job that runs, but whose worker is lost."""

PUSHED_BY, PUSHED_REASON = "by hand", "given by hand, trained already"
"""The worker and the reason of a job that was pushed with its metrics and its checkpoint."""

RESTARTED_REASON = "starts again: all members had failed"

StoppedBy: TypeAlias = Literal["hand", "target", "decision", "import"]
"""Who stopped a study; `"decision"`: code of the user's that decides has failed; `"import"`:
checkpoints it needs to go on did not come along."""

JobColumn: TypeAlias = Literal[
    "member",
    "round",
    "state",
    "hyperparameters",
    "parent_member",
    "parent_round",
    "score",
    "metrics",
    "checkpoint",
    "parent_checkpoint",
    "attempt",
    "reason",
    "error",
    "worker",
    "started_at",
    "finished_at",
    "cause",
]
"""What `Store.scan` reads of a finished job; hyperparameters and metrics are JSON text."""

JOB_COLUMNS: tuple[JobColumn, ...] = get_args(JobColumn)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run one job until a time: what a worker gets from `claim`.

    The fence is (member, round, attempt): of all leases ever given on a job only the newest counts.
    """

    study: int
    job: JobRecord
    worker: str

    @property
    def attempt(self) -> int:
        return self.job.attempt


@dataclass(frozen=True, slots=True)
class Wait:
    """How long a store that can may hold a claim until there is something to claim.

    Attributes:
        seconds: at most so many.
        cancel: set by another thread to end it.
    """

    seconds: float
    cancel: Event | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """What training code logged within a round: `job.log(step=…, **values)`."""

    step: float
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Report:
    """A finished round.

    Attributes:
        score: finite, higher is better.
        metrics: everything that training returned; values may be NaN or infinite.
        checkpoint: address of the sealed checkpoint, which must be in the store's `checkpoints`.
        points: points not sent with a heartbeat before.
        offset: how many points of the attempt came before `points`, as for a heartbeat.
    """

    score: float
    metrics: Metrics
    checkpoint: str
    points: Sequence[Point] = ()
    offset: int | None = None


MOST_MESSAGE, MOST_TRACEBACK = 10_000, 100_000
"""So many characters of a `Failure` are kept."""


class FailureKind(StrEnum):
    """Why an attempt came to nothing, and so what happens next."""

    RAISED = "raised"  # an exception in training: tried again `max_failures` times, then failed
    INVALID = "invalid"  # a NaN or infinite metric, which would come again: failed at once
    DAMAGED = "damaged"  # its starting checkpoint and all ancestors are unusable: failed at once
    LOST = "lost"  # the worker died or hung: requeued, up to MAX_LOSSES times
    RETURNED = "returned"  # handed back unharmed (drained, code broke its contract): requeued


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that came to nothing.

    Training code raises what it likes, and all of it goes into the log, through pipes and onto
    pages: so a long text loses its middle, whoever has made it.

    Attributes:
        message: one line: what happened; at most `MOST_MESSAGE` characters.
        traceback: of the exception, if there was one; at most `MOST_TRACEBACK` characters.
    """

    kind: FailureKind
    message: str
    traceback: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", cut_middle(self.message, MOST_MESSAGE))
        if self.traceback is not None:
            object.__setattr__(self, "traceback", cut_middle(self.traceback, MOST_TRACEBACK))


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """A `Failure` as the log keeps it."""

    job: JobId
    attempt: int
    failure: Failure
    worker: str
    at: float


class StudyState(StrEnum):
    """Where a study stands."""

    OPEN = "open"  # there is, or will be, something to claim
    STOPPED = "stopped"  # stopped by hand or by a reached target; resumes
    FINISHED = "finished"  # every member has ended
    FAILED = "failed"  # no member is healthy, queued or running


@dataclass(frozen=True, slots=True)
class StudyStatus:
    """Counts over one study, cheap to read.

    Attributes:
        id: number of the study in this store.
        record: its settings, with `rounds` as they are now.
        counts: jobs by state, all states, in their order; queued and running are heads, cancelled
            are heads of stopped members. A job whose worker is lost counts as running until it is
            given to another.
        members: how many members there are, pushed ones included.
        best: the job with the best score, or mean of its last scores, as the setting `best` says;
            of equal ones the lowest round, then the lowest member.
        best_score: that score, or mean.
        stopped: why it was stopped; None when it was not.
        created_at, started_at, changed_at: seconds since 1970 on the store's clock; `changed_at`
            is the newest report.
        stopped_by: who did; None when nobody did, or the service is an older one.
        best_scores: how many scores `best_score` is the mean of: fewer than wanted where no lineage
            has more; 1 where the best is that of the highest score.
        lost: how many of the running jobs have lost their worker: its lease has ended. Should it
            only be slow, and prolong, it is not lost any more.
        read_at: when this was read, on the same clock; where nobody can write (an archive on a
            read-only medium), when it was last changed, so that it shows what was true then. None
            when the service is an older one.
    """

    id: int
    record: StudyRecord
    state: StudyState
    counts: Mapping[JobState, int]
    members: int
    best: JobId | None
    best_score: float | None
    stopped: str | None
    created_at: float
    started_at: float | None
    changed_at: float | None
    best_scores: int = 1
    stopped_by: StoppedBy | None = None
    lost: int = 0
    read_at: float | None = field(default=None, compare=False)

    @property
    def stop_line(self) -> str:
        """Why it was stopped, in a line: of what a decision raised, without the traceback."""
        return (self.stopped or "").partition("\n")[0]

    def raise_failed_decision(self) -> None:
        """Raise a DecisionError if one has stopped the study, unless that is at its target."""
        if self.stopped_by == "decision" and not self.at_target:
            raise DecisionError(f"study {self.record.name!r} is stopped: {self.stopped}")

    def __post_init__(self) -> None:
        counts = {state: self.counts.get(state, 0) for state in JobState}
        object.__setattr__(self, "counts", counts)

    @property
    def n_finished(self) -> int:
        """How many jobs are done or have failed."""
        return self.counts[JobState.DONE] + self.n_failed

    @property
    def n_failed(self) -> int:
        """How many jobs have failed."""
        return self.counts[JobState.FAILED]

    @property
    def n_total(self) -> int:
        """How many jobs it comes to with as many rounds as are set now."""
        return self.members * self.record.rounds

    def left_s(self, job_s: float) -> float | None:
        """Return the seconds to its end at one job in `job_s`; None unless it is open."""
        return (self.n_total - self.n_finished) * job_s if self.state is StudyState.OPEN else None

    @property
    def best_value(self) -> float | None:
        """By what the best job is the best: its metric, or a mean; None when no job is done.

        With `best="score"` it is the metric as training reported it for that job, with
        `best="mean of N"` the mean of the metric over the last jobs of its lineage.
        """
        return None if self.best_score is None else self.record.score(self.best_score)

    @property
    def best_note(self) -> str:
        """What to say after `best_value`: ", mean of the last 3"; "" where the score chooses."""
        if self.best is None or self.record.best_window == 1:
            return ""
        return f", mean of the last {self.best_scores}" if self.best_scores > 1 else ", one score"

    def lost_s(self, job: JobRecord) -> float | None:
        """Return for how long the worker of a job has been lost; None: it is not, or none has it.

        By the store's clock as of `read_at`, whatever the clock says here. Read the status before
        the job: else a worker that prolonged in between might seem lost.
        """
        if self.read_at is None or job.lease_until is None or job.lease_until > self.read_at:
            return None
        return self.read_at - job.lease_until

    def shown_state(self, job: JobRecord) -> str:
        """Return the state of a job for people: "lost" for one that runs, but lost its worker."""
        return str(job.state) if self.lost_s(job) is None else LOST

    def lost_note(self, job: JobRecord) -> str:
        """Say that the worker of a job is lost and what comes next; "" if it is not."""
        lost_s = self.lost_s(job)
        if lost_s is None:
            return ""
        when = "" if self.state is StudyState.OPEN else " once the study is resumed"
        return (
            f"worker {job.worker} was lost {_ago(lost_s)}; the job will be given"
            f"{when} to the next worker that asks"
        )

    @property
    def at_target(self) -> bool:
        """Whether the best reaches the target."""
        return self.record.reached(self.best_score, self.best_scores)


@dataclass(frozen=True, slots=True)
class MemberView:
    """One member for tables: its newest finished job and its open one."""

    newest: JobRecord | None
    open: JobRecord | None

    @property
    def current(self) -> JobRecord | None:
        """What the member is at, or was at last; None before its first job."""
        return self.open if self.open is not None else self.newest


def _ago(seconds: float) -> str:
    """Return how long ago something was, in one unit: pages that say it need not change often."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return "less than a minute ago"


def nested(job: JobRecord, status: StudyStatus) -> JobRecord:
    """Return a job of the log with its hyperparameters nested as the space is."""
    return replace(job, hyperparameters=status.record.space.given(job.hyperparameters))


def check_state(state: JobState | str | None) -> JobState | None:
    """Return a state of jobs by its name.

    Raises:
        ConfigError: there is no such state.
    """
    names = tuple(str(state) for state in JobState)
    return None if state is None else JobState(check_choice("state", state, names))


def named(name: str, studies: Sequence[StudyStatus], *, url: str) -> StudyStatus:
    """Return the study of that name.

    Raises:
        UnknownStudy: there is none; names the closest, or the newest, of those there are.
    """
    names = {status.record.name: status for status in studies}
    if name in names:
        return names[name]
    if not names:
        raise UnknownStudy(f"no study {name!r} in {url}: it is empty")
    close = get_close_matches(name, names) or list(names)[-3:]
    others = len(names) - len(close)
    more = f" and {others} other{'' if others == 1 else 's'}" if others else ""
    raise UnknownStudy(f"no study {name!r} in {url}: there is {', '.join(map(repr, close))}{more}")

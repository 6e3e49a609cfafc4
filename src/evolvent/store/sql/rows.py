"""Rows of the SQL store as records, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

from evolvent.core.heads import Head, HeadState
from evolvent.core.records import Cause, JobId, JobRecord, JobState, Value
from evolvent.core.study import StudyRecord
from evolvent.store.interventions import Intervention, InterventionKind
from evolvent.store.records import (
    JOB_COLUMNS,
    FailedAttempt,
    Failure,
    FailureKind,
    StoppedBy,
)
from evolvent.validation import utf8_text

Row: TypeAlias = tuple[Any, ...]

encode = json.JSONEncoder(separators=(",", ":")).encode
"""JSON text; numbers come back bit for bit, NaN and infinities included."""

_decoder = json.JSONDecoder()
_STATES = {state.value: state for state in JobState}
_CAUSES = {cause.value: cause for cause in Cause}


def decode(text: str) -> Any:
    """Undo `encode`. Not `json.loads`: it looks for blanks around, twice for every job of a log."""
    return _decoder.raw_decode(text)[0]


def storable_text(text: str) -> str:
    """Replace what a database cannot hold: zeros, and what UTF-8 has no bytes for."""
    return utf8_text(text).replace("\0", "\\x00")


def storable(value: Any) -> Any:
    """Return a text as `storable_text` does, and anything else as it is."""
    return storable_text(value) if isinstance(value, str) else value


class HeadRow(NamedTuple):
    """A row of `member`, as far as a job and what comes after it need it."""

    member: int
    round: int
    state: str
    hyperparameters: str
    parent_member: int | None
    parent_round: int | None
    checkpoint: str | None
    own_checkpoint: str | None
    reason: str
    attempt: int
    losses: int
    failures: int
    worker: str | None
    started_at: float | None
    error: str | None
    cause: str
    lease_until: float | None

    @property
    def parent(self) -> JobId | None:
        return job_id(self.parent_member, self.parent_round)


class StudyRow(NamedTuple):
    """What changes of a study.

    Attributes:
        last_line: id of the last line of its log; None for an empty one, or where it was not read.
        has_waiting: whether members wait for something, likewise.
    """

    epoch: int
    stopped: str | None
    stopped_by: StoppedBy | None
    best_member: int | None
    best_round: int | None
    best_score: float | None
    best_scores: int | None
    best_checkpoint: str | None
    started_at: float | None
    last_line: int | None = None
    has_waiting: bool = False

    @property
    def best(self) -> JobId | None:
        return job_id(self.best_member, self.best_round)

    def at_target(self, record: StudyRecord) -> bool:
        """Whether the best reaches the target."""
        return record.reached(self.best_score, self.best_scores or 1)


ID_STRIDE = 2**32
"""The ids of a study's heads and of the lines of its log begin at the study's number times this."""
FAILURE_COLUMNS = (
    "member", "round", "attempt", "kind", "message", "traceback", "worker", "at",
)  # fmt: skip
INTERVENTION_COLUMNS = ("at", "kind", "facts", "by")
HEAD = ", ".join(f"m.{column}" for column in HeadRow._fields)
STUDY_WITHOUT_LOG = ", ".join(f"s.{column}" for column in StudyRow._fields[:-2])
STUDY = f"""
{STUDY_WITHOUT_LOG},
(SELECT max(id) FROM job WHERE id > s.id * {ID_STRIDE} AND id < (s.id + 1) * {ID_STRIDE}),
EXISTS (SELECT 1 FROM member WHERE study = s.id AND state = 'waiting')
"""
JOB = ", ".join(f"j.{column}" for column in JOB_COLUMNS)
FAILURE = ", ".join(FAILURE_COLUMNS)
INTERVENTION = ", ".join(INTERVENTION_COLUMNS)
HEADS = f"SELECT {HEAD} FROM member m WHERE m.study = :study ORDER BY m.member"
LOG = f"SELECT {JOB} FROM job j WHERE j.id > :begin AND j.id < :end ORDER BY j.id"
CHECKPOINT_OF = """
SELECT checkpoint FROM job WHERE study = :study AND member = :member AND round = :round
"""
"""That of a finished job; NULL if it failed."""

_N_HEAD = len(HeadRow._fields)
_fields_after_metrics = attrgetter(*JOB_COLUMNS[JOB_COLUMNS.index("metrics") + 1 :])


def head_and_study(row: Row) -> tuple[HeadRow, StudyRow]:
    """Read a row of `HEAD, STUDY`, or of `HEAD, STUDY_WITHOUT_LOG`."""
    return HeadRow._make(row[:_N_HEAD]), StudyRow(*row[_N_HEAD:])


def id_range(study: int) -> dict[str, Any]:
    """Return a study, and the ids between which the lines of its log are."""
    return {"study": study, "begin": study * ID_STRIDE, "end": (study + 1) * ID_STRIDE}


def job_id(member: int | None, round: int | None) -> JobId | None:
    """Return the job of two columns that are both empty when there is none."""
    return None if member is None or round is None else JobId(member, round)


def finished_job(row: Row) -> JobRecord:
    """Read a row of `JOB`."""
    member, round_, state, values, parent_member, parent_round, score, metrics, *same, cause = row
    rest = *same, _CAUSES[cause]  # of the same names and in the same order as the record's fields
    return JobRecord(
        member,
        round_,
        _STATES[state],
        decode(values),
        job_id(parent_member, parent_round),
        score,
        decode(metrics),
        *rest,
    )


def job_row(job: JobRecord) -> Row:
    """Undo `finished_job`; the text is fit for a database."""
    return (
        job.member,
        job.round,
        job.state.value,
        encode(dict(job.hyperparameters)),
        *parent_columns(job.parent),
        job.score,
        encode(dict(job.metrics)),
        *map(storable, _fields_after_metrics(job)),
    )


def failed_attempt(row: Row) -> FailedAttempt:
    """Read a row of `FAILURE`."""
    member, round_, attempt, kind, message, traceback, worker, at = row
    failure = Failure(FailureKind(kind), message, traceback)
    return FailedAttempt(JobId(member, round_), attempt, failure, worker, at)


def failure_row(failed: FailedAttempt) -> Row:
    """Undo `failed_attempt`; the text is fit for a database."""
    failure = failed.failure
    return (
        failed.job.member,
        failed.job.round,
        failed.attempt,
        failure.kind.value,
        storable_text(failure.message),
        storable(failure.traceback),
        storable_text(failed.worker),
        failed.at,
    )


def intervention(row: Row) -> Intervention:
    """Read a row of `INTERVENTION`."""
    at, kind, facts, by = row
    return Intervention(at, InterventionKind(kind), decode(facts), by)


def intervention_row(done: Intervention) -> Row:
    """Undo `intervention`; the text is fit for a database."""
    return done.at, done.kind.value, encode(dict(done.facts)), storable_text(done.by)


def open_job(head: HeadRow, *, rounds: int) -> JobRecord | None:
    """Return the job of a head: queued, running or cancelled; None when there is none."""
    match head.state:
        case HeadState.QUEUED | HeadState.RUNNING:
            return head_job(head, JobState(head.state))
        case HeadState.ENDED if head.round < rounds:
            return head_job(head, JobState.CANCELLED)
        case _:
            return None


def head_job(head: HeadRow, state: JobState = JobState.RUNNING) -> JobRecord:
    """Return the job of a head that has one."""
    return JobRecord(
        head.member,
        head.round,
        state,
        decode(head.hyperparameters),
        head.parent,
        parent_checkpoint=head.checkpoint,
        attempt=head.attempt,
        reason=head.reason,
        error=head.error,
        worker=head.worker,
        started_at=head.started_at,
        cause=Cause(head.cause),
        lease_until=head.lease_until,
    )


class LazyHyperparameters(Mapping[str, Value]):
    """Hyperparameters as text, decoded when somebody looks: most decisions copy them unread."""

    __slots__ = ("_values", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._values: dict[str, Value] | None = None

    def __getitem__(self, name: str) -> Value:
        return self._decoded()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded())

    def __len__(self) -> int:
        return len(self._decoded())

    def __repr__(self) -> str:
        return repr(self._decoded())

    def _decoded(self) -> dict[str, Value]:
        if self._values is None:
            self._values = decode(self.text)
        return self._values


def parent_columns(parent: JobId | None) -> tuple[int | None, int | None]:
    """Return the two columns of a parent, both empty when there is none."""
    return (None, None) if parent is None else (parent.member, parent.round)


def head_values(head: Head) -> dict[str, Any]:
    """Return the columns of `HEAD_COLUMNS`."""
    values = head.hyperparameters
    parent_member, parent_round = parent_columns(head.parent)
    return {
        "round": head.round,
        "state": head.state.value,
        "hyperparameters": (
            values.text if isinstance(values, LazyHyperparameters) else encode(dict(values))
        ),
        "parent_member": parent_member,
        "parent_round": parent_round,
        "reason": storable_text(head.reason),  # of an algorithm of the user's own, too
        "cause": head.cause.value,
    }


HEAD_COLUMNS = tuple(head_values(Head(0, 0, HeadState.QUEUED, {}, None, "")))
"""What a decision writes of a member."""

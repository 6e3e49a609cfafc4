"""Rows of the SQL store as records, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from evolvent.core.heads import HeadState
from evolvent.core.records import Hyperparameters, JobId, JobRecord, JobState, Value

Row: TypeAlias = tuple[Any, ...]

encode = json.JSONEncoder(separators=(",", ":")).encode
"""JSON text; numbers come back bit for bit, NaN and infinities included."""

decode = json.JSONDecoder().decode


def storable_text(text: str) -> str:
    """Replace what a database cannot hold: zeros, and what UTF-8 has no bytes for."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def storable_text_or_none(text: str | None) -> str | None:
    """Return `storable_text(text)`, or None for none."""
    return None if text is None else storable_text(text)


HEAD = (
    "m.member, m.round, m.state, m.hyperparameters, m.parent_member, m.parent_round, m.checkpoint,"
    " m.reason, m.attempt, m.losses, m.failures, m.worker, m.started_at, m.error"
)
STUDY = (
    "s.epoch, s.stopped, s.stopped_by, s.best_member, s.best_round, s.best_score,"
    " s.best_checkpoint, s.started_at"
)
JOB = (
    "j.member, j.round, j.state, j.hyperparameters, j.parent_member, j.parent_round, j.score,"
    " j.metrics, j.checkpoint, j.parent_checkpoint, j.attempt, j.reason, j.error, j.worker,"
    " j.started_at, j.finished_at"
)


class HeadRow(NamedTuple):
    """A row of `member`, in the order of `HEAD`."""

    member: int
    round: int
    state: str
    hyperparameters: str
    parent_member: int | None
    parent_round: int | None
    checkpoint: str | None
    reason: str
    attempt: int
    losses: int
    failures: int
    worker: str | None
    started_at: float | None
    error: str | None

    @property
    def parent(self) -> JobId | None:
        return job_id(self.parent_member, self.parent_round)


class StudyRow(NamedTuple):
    """What changes in a row of `study`, in the order of `STUDY`."""

    epoch: int
    stopped: str | None
    stopped_by: str | None
    best_member: int | None
    best_round: int | None
    best_score: float | None
    best_checkpoint: str | None
    started_at: float | None

    @property
    def best(self) -> JobId | None:
        return job_id(self.best_member, self.best_round)


ID_STRIDE = 2**32
"""The ids of a study's heads and of the lines of its log begin at the study's number times this."""

_N_HEAD = len(HeadRow._fields)


def head_and_study(row: Row) -> tuple[HeadRow, StudyRow]:
    """Read a row of `HEAD, STUDY`."""
    return HeadRow._make(row[:_N_HEAD]), StudyRow._make(row[_N_HEAD:])


def job_id(member: int | None, round: int | None) -> JobId | None:
    """Return the job of two columns that are both empty when there is none."""
    return None if member is None or round is None else JobId(member, round)


def finished_job(row: Row) -> JobRecord:
    """Read a row of `JOB`."""
    member, round_, state, hyperparameters, parent_member, parent_round = row[:6]
    score, metrics, checkpoint, parent_checkpoint, attempt, reason, error, worker = row[6:14]
    return JobRecord(
        member,
        round_,
        JobState(state),
        decode(hyperparameters),
        job_id(parent_member, parent_round),
        score,
        decode(metrics),
        checkpoint,
        parent_checkpoint,
        attempt,
        reason,
        error,
        worker,
        row[14],
        row[15],
    )


def open_job(head: HeadRow, *, rounds: int) -> JobRecord | None:
    """Return the job of a head: queued, running or cancelled; None when there is none."""
    match head.state:
        case HeadState.QUEUED | HeadState.RUNNING:
            return _head_job(head, JobState(head.state))
        case HeadState.ENDED if head.round < rounds:
            return _head_job(head, JobState.CANCELLED)
        case _:
            return None


def running_job(head: HeadRow) -> JobRecord:
    """Return the job of a running head."""
    return _head_job(head, JobState.RUNNING)


def _head_job(head: HeadRow, state: JobState) -> JobRecord:
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


def text_of(values: Hyperparameters) -> str:
    """Return hyperparameters as text."""
    return values.text if isinstance(values, LazyHyperparameters) else encode(dict(values))


def head_values(parent: JobId | None, hyperparameters: Hyperparameters) -> dict[str, Any]:
    """Return the columns that a head's parent and hyperparameters fill."""
    return {
        "parent_member": None if parent is None else parent.member,
        "parent_round": None if parent is None else parent.round,
        "hyperparameters": text_of(hyperparameters),
    }

"""What workers and stores tell each other, as JSON objects, and back: used on both sides of HTTP.

Floats are written bit for bit; metrics that are not finite as the strings "NaN", "Infinity" and
"-Infinity". Whatever cannot be read raises `Malformed`, which names the field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.core.study import StudyRecord
from evolvent.store.codec.fields import (
    array,
    check,
    choice,
    metrics,
    non_negative,
    number,
    object_,
    optional_number,
    optional_text,
    plain_metrics,
    text,
    wrong,
)
from evolvent.store.codec.records import (
    cause,
    hyperparameters,
    job_id,
    parent,
)
from evolvent.store.records import (
    Lease,
    MemberView,
    Point,
    Report,
    StudyState,
    StudyStatus,
)

MOST = 2**31 - 1
"""Members, rounds and attempts beyond it are none: no database could tell them apart."""

MOST_SECONDS = 1e9
MOST_WAIT_S = 60.0
"""For longer no claim waits within one request."""

_STATES = tuple(state.value for state in JobState)
_STANDS = tuple(state.value for state in StudyState)
_ADDRESS_DIGITS = 64
_LONGEST_KEY = 100
_NAME = "1 to 200 printable characters"


def job_to_json(job: JobRecord) -> dict[str, Any]:
    """Return any job, finished or open."""
    return {
        "job": job.id,
        "member": job.member,
        "round": job.round,
        "state": job.state.value,
        "hyperparameters": dict(job.hyperparameters),
        "parent": job.parent,
        "score": job.score,
        "metrics": plain_metrics(job.metrics),
        "checkpoint": job.checkpoint,
        "parent_checkpoint": job.parent_checkpoint,
        "attempt": job.attempt,
        "reason": job.reason,
        "cause": job.cause.value,
        "error": job.error,
        "worker": job.worker,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }


def job_from_json(data: Mapping[str, Any]) -> JobRecord:
    """Undo `job_to_json`."""
    job, state = job_id(data, "job"), JobState(choice(data, "state", _STATES))
    return JobRecord(
        job.member,
        job.round,
        state,
        hyperparameters(data),
        parent(data),
        optional_number(data, "score"),
        metrics(data, "metrics"),
        optional_text(data, "checkpoint"),
        optional_text(data, "parent_checkpoint"),
        non_negative(data, "attempt"),
        text(data, "reason"),
        optional_text(data, "error"),
        optional_text(data, "worker"),
        optional_number(data, "started_at"),
        optional_number(data, "finished_at"),
        cause(data, job, state),
    )


def lease_to_json(lease: Lease) -> dict[str, Any]:
    """Return a lease as a worker gets it."""
    return {"study": lease.study, "worker": lease.worker, "job": job_to_json(lease.job)}


def lease_from_json(data: Mapping[str, Any]) -> Lease:
    """Undo `lease_to_json`."""
    return Lease(
        non_negative(data, "study"), job_from_json(object_(data, "job")), text(data, "worker")
    )


def fence_to_json(lease: Lease) -> dict[str, Any]:
    """Return what tells one lease from all others: all that has to come back of it."""
    job = lease.job
    return {
        "member": job.member,
        "round": job.round,
        "attempt": job.attempt,
        "worker": lease.worker,
    }


def fence_from_json(study: int, data: Mapping[str, Any]) -> Lease:
    """Return a lease of which only the fence is known."""
    member, round_, attempt = (int32(data, name) for name in ("member", "round", "attempt"))
    job = JobRecord(member, round_, JobState.RUNNING, {}, attempt=attempt)
    return Lease(study, job, worker_name(data))


def points_to_json(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Return points in their order."""
    return [{"step": point.step, "values": plain_metrics(point.values)} for point in points]


def points_from_json(data: Mapping[str, Any]) -> list[Point]:
    """Undo `points_to_json` of the field `points`, which may be left out."""
    found = array(data, "points") if data.get("points") is not None else []
    for item in found:
        check(isinstance(item, dict), "points", item, "objects with step and values")
    return list(map(point_from_json, found))


def point_from_json(data: Mapping[str, Any]) -> Point:
    """Undo one of `points_to_json`."""
    return Point(float(number(data, "step")), metrics(data, "values"))


def report_to_json(report: Report) -> dict[str, Any]:
    """Return what a finished round came to."""
    return {
        "score": report.score,
        "metrics": plain_metrics(report.metrics),
        "checkpoint": report.checkpoint,
        "points": points_to_json(report.points),
    }


def report_from_json(data: Mapping[str, Any]) -> Report:
    """Undo `report_to_json`."""
    score = number(data, "score")
    values = metrics(data, "metrics")
    return Report(float(score), values, address(data, "checkpoint"), points_from_json(data))


def member_to_json(view: MemberView) -> dict[str, Any]:
    """Return the newest and the open job of a member."""
    return {
        "newest": None if view.newest is None else job_to_json(view.newest),
        "open": None if view.open is None else job_to_json(view.open),
    }


def member_from_json(data: Mapping[str, Any]) -> MemberView:
    """Undo `member_to_json`."""
    newest, opened = data.get("newest"), data.get("open")
    return MemberView(
        None if newest is None else job_from_json(newest),
        None if opened is None else job_from_json(opened),
    )


def status_to_json(status: StudyStatus) -> dict[str, Any]:
    """Return how a study stands."""
    return {
        "id": status.id,
        "record": status.record.to_json(),
        "state": status.state.value,
        "counts": {state.value: n for state, n in status.counts.items() if n},
        "members": status.members,
        "best": status.best,
        "best_score": status.best_score,
        "stopped": status.stopped,
        "created_at": status.created_at,
        "started_at": status.started_at,
        "changed_at": status.changed_at,
    }


def status_from_json(data: Mapping[str, Any]) -> StudyStatus:
    """Undo `status_to_json`."""
    best = data.get("best")
    return StudyStatus(
        id=non_negative(data, "id"),
        record=StudyRecord.from_json(object_(data, "record")),
        state=StudyState(choice(data, "state", _STANDS)),
        counts={JobState(state): n for state, n in object_(data, "counts").items()},
        members=non_negative(data, "members"),
        best=None if best is None else job_id(data, "best"),
        best_score=optional_number(data, "best_score"),
        stopped=optional_text(data, "stopped"),
        created_at=number(data, "created_at"),
        started_at=optional_number(data, "started_at"),
        changed_at=optional_number(data, "changed_at"),
    )


def int32(data: Mapping[str, Any], name: str) -> int:
    """Return a whole number that any database can hold."""
    value = non_negative(data, name)
    if value > MOST:
        raise wrong(name, value, f"a whole number, 0 to {MOST}")
    return value


def seconds(data: Mapping[str, Any], name: str) -> float:
    """Return a time span, also one that is over already."""
    value = number(data, name)
    if isinstance(value, bool) or abs(value) > MOST_SECONDS:
        raise wrong(name, value, "seconds")
    return float(value)


def worker_name(data: Mapping[str, Any], name: str = "worker") -> str:
    """Return the name of a worker."""
    value = text(data, name)
    check(0 < len(value) <= 200 and value.isprintable(), name, value, _NAME)
    return value


def address(data: Mapping[str, Any], name: str) -> str:
    """Return the address of a checkpoint."""
    value = text(data, name)
    digits = len(value) == _ADDRESS_DIGITS and set(value) <= set("0123456789abcdef")
    check(digits, name, value, "64 hexadecimal digits")
    return value


def key_from_json(data: Mapping[str, Any]) -> str | None:
    """Return the key of a call; None when it has none."""
    value = optional_text(data, "key")
    if value is not None:
        good = 0 < len(value) <= _LONGEST_KEY and value.isascii() and value.isprintable()
        check(good, "key", value, f"1 to {_LONGEST_KEY} printable ASCII characters, such as a UUID")
    return value


def job_name(value: str) -> JobId:
    """Return the job that a text names."""
    job = job_id({"job": value}, "job")
    if max(job.member, job.round) > MOST:
        raise wrong("job", value, "a job such as 'm3r12'")
    return job

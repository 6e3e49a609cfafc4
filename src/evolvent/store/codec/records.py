"""Records of the log as JSON objects, and back; what cannot be read raises `Malformed`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import NoneType
from typing import Any

from evolvent.core.heads import Head, HeadState
from evolvent.core.records import Cause, Hyperparameters, JobId, JobRecord, JobState
from evolvent.errors import UnknownJob
from evolvent.store.codec.fields import (
    Malformed,
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
from evolvent.store.dump import JobPoint, MemberDump
from evolvent.store.records import FailedAttempt, Failure, FailureKind, Point

_ADDRESS = re.compile(r"[0-9a-f]{64}")
_HEADS = tuple(state.value for state in HeadState if state is not HeadState.RUNNING)
_FINISHED = (JobState.DONE.value, JobState.FAILED.value)
_CAUSES = tuple(cause.value for cause in Cause)
_WORDS = {
    re.compile(words, re.DOTALL): cause
    for words, cause in (
        ("drawn from the space", Cause.DRAWN),
        ("given by hand", Cause.GIVEN),
        ("given by hand: .*; the rest drawn from the space", Cause.GIVEN_IN_PART),
        ("given by hand, trained already", Cause.PUSHED),
        ("starts again: all members had failed.*", Cause.RESTARTED),
        (".*; started from .*, the nearest sound ancestor", Cause.FELL_BACK),
    )
}
_KINDS = tuple(kind.value for kind in FailureKind)


def member_to_json(member: MemberDump) -> dict[str, Any]:
    """Return a member with what concerns its open job."""
    head = member.head
    return {
        "member": head.member,
        "round": head.round,
        "state": head.state.value,
        "hyperparameters": dict(head.hyperparameters),
        "parent": head.parent,
        "reason": head.reason,
        "cause": head.cause.value,
        "attempt": member.attempt,
        "losses": member.losses,
        "failures": member.failures,
        "started_at": member.started_at,
        "error": member.error,
    }


def member_from_json(data: Mapping[str, Any]) -> MemberDump:
    """Undo `member_to_json`."""
    job = JobId(non_negative(data, "member"), non_negative(data, "round"))
    state = HeadState(choice(data, "state", _HEADS))
    head = Head(
        job.member,
        job.round,
        state,
        hyperparameters(data),
        parent(data),
        text(data, "reason"),
        cause(data, job, state),
    )
    return MemberDump(
        head,
        non_negative(data, "attempt"),
        non_negative(data, "losses"),
        non_negative(data, "failures"),
        optional_number(data, "started_at"),
        optional_text(data, "error"),
    )


def job_to_json(job: JobRecord) -> dict[str, Any]:
    """Return a finished job; the address of its parent's checkpoint is in its parent's line."""
    return {
        "job": job.id,
        "state": job.state.value,
        "hyperparameters": dict(job.hyperparameters),
        "parent": job.parent,
        "score": job.score,
        "metrics": plain_metrics(job.metrics),
        "checkpoint": job.checkpoint,
        "attempt": job.attempt,
        "reason": job.reason,
        "cause": job.cause.value,
        "error": job.error,
        "worker": job.worker,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }


def job_from_json(data: Mapping[str, Any]) -> JobRecord:
    """Undo `job_to_json`; the address of its parent's checkpoint is left to be filled in."""
    job = job_id(data, "job")
    state = JobState(choice(data, "state", _FINISHED))
    done = state is JobState.DONE
    score, checkpoint = data.get("score"), data.get("checkpoint")
    if done:
        score, checkpoint = number(data, "score"), text(data, "checkpoint")
        check(bool(_ADDRESS.fullmatch(checkpoint)), "checkpoint", checkpoint, "an address")
    else:
        check(score is None, "score", score, "none of a failed job")
        check(checkpoint is None, "checkpoint", checkpoint, "none of a failed job")
    return JobRecord(
        job.member,
        job.round,
        state,
        hyperparameters(data),
        parent(data),
        score,
        metrics(data, "metrics"),
        checkpoint,
        attempt=non_negative(data, "attempt"),
        reason=text(data, "reason"),
        error=optional_text(data, "error"),
        worker=optional_text(data, "worker"),
        started_at=optional_number(data, "started_at"),
        finished_at=number(data, "finished_at"),
        cause=cause(data, job, state),
    )


def point_to_json(logged: JobPoint) -> dict[str, Any]:
    """Return a point that a job has logged."""
    point = logged.point
    return {"job": logged.job, "step": point.step, "values": plain_metrics(point.values)}


def point_from_json(data: Mapping[str, Any]) -> JobPoint:
    """Undo `point_to_json`."""
    return JobPoint(job_id(data, "job"), Point(number(data, "step"), metrics(data, "values")))


def failure_to_json(failure: Failure) -> dict[str, Any]:
    """Return why an attempt came to nothing."""
    return {
        "kind": failure.kind.value,
        "message": failure.message,
        "traceback": failure.traceback,
    }


def failure_from_json(data: Mapping[str, Any]) -> Failure:
    """Undo `failure_to_json`."""
    kind = FailureKind(choice(data, "kind", _KINDS))
    return Failure(kind, text(data, "message"), optional_text(data, "traceback"))


def attempt_to_json(failed: FailedAttempt) -> dict[str, Any]:
    """Return an attempt that came to nothing, as the log has it."""
    return {
        "job": failed.job,
        "attempt": failed.attempt,
        **failure_to_json(failed.failure),
        "worker": failed.worker,
        "at": failed.at,
    }


def attempt_from_json(data: Mapping[str, Any]) -> FailedAttempt:
    """Undo `attempt_to_json`."""
    failure = failure_from_json(data)
    return FailedAttempt(
        job_id(data, "job"),
        non_negative(data, "attempt"),
        failure,
        text(data, "worker"),
        number(data, "at"),
    )


def job_id(data: Mapping[str, Any], name: str) -> JobId:
    """Return the job that a field names."""
    value = text(data, name)
    try:
        return JobId.parse(value)
    except (UnknownJob, ValueError) as e:  # not of that form, or of thousands of digits
        raise wrong(name, value, "a job such as 'm3r12'") from e


def parent(data: Mapping[str, Any]) -> JobId | None:
    """Return the job whose checkpoint another starts from; None for fresh weights."""
    return None if data.get("parent") is None else job_id(data, "parent")


def cause(data: Mapping[str, Any], job: JobId, state: HeadState | JobState) -> Cause:
    """Return why a job exists.

    An evolvent of schema version 3 told the words only: they are read here, as they were then, and
    nowhere else but in `schema/migrations/*/0004_cause.sql`, which reads them the same.
    """
    if "cause" in data:
        return Cause(choice(data, "cause", _CAUSES))
    reason, start = text(data, "reason"), parent(data)
    if state is HeadState.WAITING or reason == "rounds done":
        return Cause.UNDECIDED
    if state in {HeadState.ENDED, JobState.CANCELLED}:
        return Cause.STOPPED
    for pattern, found in _WORDS.items():
        if pattern.fullmatch(reason):
            return found
    if job.round == 0 or start is None:
        return Cause.UNKNOWN
    return Cause.KEPT if start.member == job.member else Cause.COPIED


def hyperparameters(data: Mapping[str, Any]) -> Hyperparameters:
    """Return flat hyperparameters."""
    values = object_(data, "hyperparameters")
    for name, value in values.items():
        if not isinstance(value, (float, int, str, NoneType)):
            wanted = "a string, a number, a boolean or null"
            raise Malformed(
                f"hyperparameter {name}: got {value!r:.80}, wanted {wanted}",
                field=f"hyperparameters.{name}",
            )
    return values

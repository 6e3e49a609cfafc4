"""The log in JSON: its jobs, points and failures, and the members with their open jobs.

A job is the same on the wire and in archives; `finished` says what it must be there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from evolvent.core.heads import Head, HeadState
from evolvent.core.records import Cause, JobId, JobRecord, JobState
from evolvent.store.codec.fields import (
    ADDRESS,
    COUNT,
    HYPERPARAMETERS,
    JOB_NAME,
    METRICS,
    NUMBER,
    NUMBERS,
    TEXT,
    Field,
    check,
    choice,
    message,
    nullable,
    object_,
)
from evolvent.store.dump import JobPoint, MemberDump
from evolvent.store.interventions import Intervention, InterventionKind
from evolvent.store.records import (
    FailedAttempt,
    Failure,
    FailureKind,
    Point,
)

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


def _job(job: JobId, **values: Any) -> JobRecord:
    return JobRecord(job.member, job.round, **values)


def _failed(job: JobId, attempt: int, worker: str, at: float, **failure: Any) -> FailedAttempt:
    return FailedAttempt(job, attempt, Failure(**failure), worker, at)


_FIELDS: dict[str, Field[Any]] = {
    "job": JOB_NAME,
    "member": COUNT,
    "round": COUNT,
    "state": choice(JobState),
    "hyperparameters": HYPERPARAMETERS,
    "parent": nullable(JOB_NAME),
    "score": nullable(NUMBER),
    "metrics": METRICS,
    "checkpoint": nullable(ADDRESS),
    "parent_checkpoint": nullable(ADDRESS),
    "attempt": COUNT,
    "reason": TEXT,
    "cause": choice(Cause),
    "error": nullable(TEXT),
    "worker": nullable(TEXT),
    "started_at": nullable(NUMBER),
    "finished_at": nullable(NUMBER),
}
FINISHED = message(_job, _FIELDS, derived=("member", "round"), at={"job": "id"})
"""A job as archives have it."""

JOB = message(
    _job,
    _FIELDS,
    optional={"lease_until": nullable(NUMBER)},  # an older service does not tell
    derived=("member", "round"),
    at={"job": "id"},
)
"""Any job, finished or open."""

_HEAD = message(
    Head,
    {
        "member": COUNT,
        "round": COUNT,
        "state": choice(HeadState, but=(HeadState.RUNNING,)),
        "hyperparameters": HYPERPARAMETERS,
        "parent": nullable(JOB_NAME),
        "reason": TEXT,
        "cause": choice(Cause),
    },
)
HEAD = message(
    MemberDump,
    {
        "attempt": COUNT,
        "losses": COUNT,
        "failures": COUNT,
        "started_at": nullable(NUMBER),
        "error": nullable(TEXT),
    },
    inline={"head": _HEAD},
)
"""A member with what concerns its open job."""

POINT = message(Point, {"step": NUMBER, "values": NUMBERS})
JOB_POINT = message(JobPoint, {"job": JOB_NAME}, inline={"point": POINT})
FAILURE = message(
    Failure, {"kind": choice(FailureKind), "message": TEXT}, optional={"traceback": nullable(TEXT)}
)
FAILED = message(
    _failed,
    {
        "job": JOB_NAME,
        "attempt": COUNT,
        "kind": choice(FailureKind),
        "message": TEXT,
        "traceback": nullable(TEXT),
        "worker": TEXT,
        "at": NUMBER,
    },
    at={name: f"failure.{name}" for name in ("kind", "message", "traceback")},
)
"""An attempt that came to nothing, as the log has it."""


_MAYBE_NUMBER, _MAYBE_TEXT = nullable(NUMBER), nullable(TEXT)
_FACTS: Mapping[InterventionKind, Field[dict[str, Any]]] = {
    InterventionKind.EXTENDED: message(dict, {"before": COUNT, "after": COUNT}),
    InterventionKind.RETARGETED: message(dict, {"before": _MAYBE_NUMBER, "after": _MAYBE_NUMBER}),
    InterventionKind.STOPPED: message(dict, {"reason": TEXT}),
    InterventionKind.RESUMED: message(dict, {"reason": _MAYBE_TEXT, "stopped_by": _MAYBE_TEXT}),
    InterventionKind.PUSHED: message(dict, {"job": JOB_NAME}),
}


def _intervention(kind: InterventionKind, facts: dict[str, Any], **rest: Any) -> Intervention:
    return Intervention(kind=kind, facts=_FACTS[kind].from_json(facts, "facts"), **rest)


INTERVENTION = message(
    _intervention,
    {
        "at": NUMBER,
        "kind": choice(InterventionKind),
        "facts": Field({"anyOf": [kind.schema for kind in _FACTS.values()]}, object_),
        "by": TEXT,
    },
)
"""What somebody did to a study."""


def finished(data: Any) -> JobRecord:
    """Return a job of an archive; the address of its parent's checkpoint is left to be filled in.

    Raises:
        Malformed: it is none, or not finished.
    """
    job = FINISHED.from_json(_with_cause(data), "job")
    done = job.state is JobState.DONE
    check(done or job.state is JobState.FAILED, "state", job.state.value, "'done' or 'failed'")
    check(job.finished_at is not None, "finished_at", None, "a finite number")
    for name, value in (("score", job.score), ("checkpoint", job.checkpoint)):
        check((value is not None) == done, name, value, "one of a done job, none of a failed one")
    return replace(job, parent_checkpoint=None)


def member(data: Any) -> MemberDump:
    """Return a member of an archive."""
    return HEAD.from_json(_with_cause(data), "member")


def _with_cause(data: Any) -> Any:
    if not isinstance(data, Mapping) or "cause" in data:
        return data
    return {**data, "cause": cause_in_words(data).value}


def cause_in_words(data: Mapping[str, Any]) -> Cause:
    """Return why a job or a member's open job exists, out of the words of its record.

    An evolvent of schema version 3 told the words only: they are read here, as they were then, and
    nowhere else but in the migration `0004_cause.sql`, which reads them the same.
    """
    reason, state = TEXT.from_json(data.get("reason"), "reason"), data.get("state")
    if state == HeadState.WAITING or reason == "rounds done":
        return Cause.UNDECIDED
    if state in (HeadState.ENDED, JobState.CANCELLED):
        return Cause.STOPPED
    for pattern, cause in _WORDS.items():
        if pattern.fullmatch(reason):
            return cause
    start = nullable(JOB_NAME).from_json(data.get("parent"), "parent")
    own, round_ = data.get("member"), data.get("round")
    if "job" in data:
        job = JOB_NAME.from_json(data["job"], "job")
        own, round_ = job.member, job.round
    if start is None or round_ == 0:
        return Cause.UNKNOWN
    return Cause.KEPT if start.member == own else Cause.COPIED

"""What the service is asked, and what it answers: used on both sides of HTTP, and documented.

Each request is a dataclass whose fields are `Annotated` by their kinds; those with a default may
be left out. What has a name in capitals has it in the OpenAPI document too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Generic, TypeVar

from evolvent.core.records import JobId, JobRecord, JobState, Metrics
from evolvent.core.study import StudyRecord
from evolvent.store.checkpoints.files import FileEntry
from evolvent.store.codec import records
from evolvent.store.codec.fields import (
    ADDRESS,
    COUNT,
    FLAG,
    JOB_NAME,
    METRICS,
    NUMBER,
    SMALL,
    TEXT,
    Field,
    choice,
    list_of,
    message,
    message_of,
    nullable,
    number,
    object_,
    only,
    printable,
    text,
    wrong,
)
from evolvent.store.codec.file_list import FILES
from evolvent.store.codec.study import RECORD, STOPPER
from evolvent.store.records import (
    Failure,
    Lease,
    MemberView,
    Point,
    Report,
    StudyState,
    StudyStatus,
)
from evolvent.validation import check_path

LEASE_S = 60.0
"""For so long a lease counts when nobody says so."""
MOST_WAIT_S = 60.0
"""For longer no claim waits within one request."""

_MOST_SECONDS = 1e9
_LONGEST_KEY = 100
_LONGEST_REASON = 10_000

_T = TypeVar("_T")


_CALL = text(
    f"1 to {_LONGEST_KEY} printable ASCII characters, such as a UUID",
    lambda value: 0 < len(value) <= _LONGEST_KEY and value.isascii() and value.isprintable(),
    minLength=1,
    maxLength=_LONGEST_KEY,
    pattern="^[ -~]+$",
)
_WHY = "Names this call, such as a UUID: sent again with it, nothing is done twice."
KEY = replace(nullable(_CALL), schema={**nullable(_CALL).schema, "description": _WHY})
_BEFORE = "How many points of this attempt came before `points`: none is kept twice."
_OFFSET = replace(nullable(SMALL), schema={**nullable(SMALL).schema, "description": _BEFORE})

_WORKER = printable(1, 200)
_LEASE_S = nullable(number(-_MOST_SECONDS, _MOST_SECONDS), LEASE_S)  # one may be over already
_WAIT_S = nullable(number(0, MOST_WAIT_S), 0.0)
_POINTS = nullable(list_of(records.POINT), ())
_REASON = text(
    f"a sentence of up to {_LONGEST_REASON} characters", lambda value: len(value) <= _LONGEST_REASON
)

# Checked when it came in: one odd record among many must not hide the others.
_SERVED_RECORD = replace(
    RECORD, read=lambda value, name: StudyRecord.from_json(object_(value, name))
)

# --- the log and how a study stands ------------------------------------------------------------

JOB, POINT, FAILURE, FAILED = records.JOB, records.POINT, records.FAILURE, records.FAILED
INTERVENTION = records.INTERVENTION
LEASE = message(Lease, {"study": COUNT, "worker": TEXT, "job": JOB})
MEMBER = message(MemberView, {"newest": nullable(JOB), "open": nullable(JOB)})
STATUS = message(
    StudyStatus,
    {
        "id": COUNT,
        "record": _SERVED_RECORD,
        "state": choice(StudyState),
        "counts": Field(
            {"type": "object", "additionalProperties": COUNT.schema},
            lambda value, name: {JobState(word): n for word, n in object_(value, name).items()},
            lambda counts: {state.value: n for state, n in counts.items() if n},
        ),
        "members": COUNT,
        "best": nullable(JOB_NAME),
        "best_score": nullable(NUMBER),
        "stopped": nullable(TEXT),
        "created_at": NUMBER,
        "started_at": nullable(NUMBER),
        "changed_at": nullable(NUMBER),
    },
    optional={
        "best_scores": COUNT,
        "stopped_by": nullable(STOPPER),
        "lost": COUNT,
        "read_at": nullable(NUMBER),
    },
)


def _read_row(value: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise wrong(name, value, "a list")
    return tuple(value)


ROW = Field({"type": "array", "items": {"type": ["string", "number", "null"]}}, _read_row, list)
"""Columns of a job."""
MEMBER_POINT = Field(
    {
        "type": "array",
        "prefixItems": [COUNT.schema, NUMBER.schema, TEXT.schema],
        "minItems": 3,
        "maxItems": 3,
    },
    _read_row,
    list,
)
"""A round, a step, and values as JSON text."""


@dataclass(frozen=True, slots=True)
class LogPage(Generic[_T]):
    """Some records of many.

    Attributes:
        next: where the next page begins; None when there is none.
        total: how many records there are on all pages.
    """

    items: Sequence[_T]
    next: int | None
    total: int


def _page(name: str, kind: Field[_T]) -> Field[LogPage[_T]]:
    def make(*, next: int | None, total: int, **items: Any) -> LogPage[_T]:
        return LogPage(items[name], next, total)

    needed: dict[str, Field[Any]] = {
        name: list_of(kind), "next": nullable(COUNT), "total": COUNT
    }  # fmt: skip
    return message(make, needed, at={name: "items"})


STUDIES = only("studies", list_of(STATUS))
STUDY_ID = only("id", COUNT)
JOBS = only("jobs", list_of(JOB))
JOBS_PAGE, MEMBERS_PAGE = _page("jobs", JOB), _page("members", MEMBER)
POINTS_PAGE = _page("points", POINT)
FAILURES = only("failures", list_of(FAILED))
INTERVENTIONS = only("interventions", list_of(INTERVENTION))
JOB_IDS = only("jobs", list_of(JOB_NAME))
JOB_ID = only("job", JOB_NAME)
RELEASED = only("released", COUNT)
FREED = only("freed", COUNT)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What went wrong: an error's class, what it says, and which field it is about."""

    type: Annotated[str, TEXT]
    message: Annotated[str, TEXT]
    field: Annotated[str | None, nullable(TEXT)]


ERROR = only("error", message_of(ErrorBody))

# --- what workers send -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fence:
    """What tells one lease from all others: all that has to come back of it."""

    member: Annotated[int, SMALL]
    round: Annotated[int, SMALL]
    attempt: Annotated[int, SMALL]
    worker: Annotated[str, _WORKER]

    @classmethod
    def of(cls, lease: Lease) -> Fence:
        """Return that of a lease."""
        return cls(lease.job.member, lease.job.round, lease.job.attempt, lease.worker)

    def lease(self, study: int) -> Lease:
        """Return a lease of which only the fence is known."""
        job = JobRecord(self.member, self.round, JobState.RUNNING, {}, attempt=self.attempt)
        return Lease(study, job, self.worker)


_FENCE = message_of(Fence)


@dataclass(frozen=True, slots=True)
class ClaimBody:
    """What a claim asks for, and how long it waits for it."""

    worker: Annotated[str, _WORKER]
    lease_s: Annotated[float, _LEASE_S] = LEASE_S
    prefer: Annotated[int | None, nullable(SMALL)] = None
    wait_s: Annotated[float, _WAIT_S] = 0.0
    key: Annotated[str | None, KEY] = None


@dataclass(frozen=True, slots=True)
class HeartbeatBody:
    """A sign of life, with what training has logged since the last."""

    fence: Fence
    lease_s: Annotated[float, _LEASE_S] = LEASE_S
    points: Annotated[Sequence[Point], _POINTS] = ()
    offset: Annotated[int | None, _OFFSET] = None


@dataclass(frozen=True, slots=True)
class ReportBody:
    """What a round came to; without a score it is that of the study's metric."""

    fence: Fence
    metrics: Annotated[Metrics, METRICS]
    checkpoint: Annotated[str, ADDRESS]
    score: Annotated[float | None, nullable(NUMBER)] = None
    points: Annotated[Sequence[Point], _POINTS] = ()
    offset: Annotated[int | None, _OFFSET] = None


@dataclass(frozen=True, slots=True)
class FailBody:
    """Why an attempt came to nothing."""

    fence: Fence
    failure: Annotated[Failure, FAILURE]


@dataclass(frozen=True, slots=True)
class ReleaseBody:
    """Why all attempts of a worker come to nothing."""

    worker: Annotated[str, _WORKER]
    failure: Annotated[Failure, FAILURE]


@dataclass(frozen=True, slots=True)
class ReparentBody:
    """From which ancestor a job starts instead, and why."""

    fence: Fence
    parent: Annotated[JobId, JOB_NAME]
    reason: Annotated[str, _REASON]


CLAIM = message_of(ClaimBody)
HEARTBEAT = message_of(HeartbeatBody, fence=_FENCE)
REPORT = message_of(ReportBody, fence=_FENCE)
FAIL = message_of(FailBody, fence=_FENCE)
RELEASE = message_of(ReleaseBody)
REPARENT = message_of(ReparentBody, fence=_FENCE)

# --- what makes and changes studies ------------------------------------------------------------

_DONE = message(
    Report,
    {"metrics": METRICS, "checkpoint": ADDRESS, "score": NUMBER},
    optional={"points": _POINTS},
)


@dataclass(frozen=True, slots=True)
class NewStudyBody:
    """The settings of a study to make."""

    record: Annotated[StudyRecord, RECORD]
    key: Annotated[str | None, KEY] = None


@dataclass(frozen=True, slots=True)
class StopBody:
    """Why a study is stopped."""

    reason: Annotated[str, printable(1, 1000)] = "stopped by hand"


@dataclass(frozen=True, slots=True)
class PushBody:
    """A member to add: flat or nested hyperparameters, and what it came to if it has trained."""

    hyperparameters: Annotated[Mapping[str, Any], Field({"type": "object"}, object_)]
    done: Annotated[Report | None, nullable(_DONE)] = None
    key: Annotated[str | None, KEY] = None


NOTHING: Field[dict[str, Any]] = message(dict, {})
NEW_STUDY = message_of(NewStudyBody)
STOP = message_of(StopBody)
EXTEND = only("rounds", SMALL)
RETARGET = only("target", nullable(NUMBER))
_PATH = Field(TEXT.schema, lambda value, name: check_path(name, TEXT.from_json(value, name)))
REMEMBER = only("trainable", _PATH)
PUSH = message_of(PushBody)
ONE_JOB = only("job", JOB_NAME)

# --- checkpoints -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileProgress:
    """How much of a file has arrived."""

    name: Annotated[str, TEXT]
    size: Annotated[int, COUNT]
    offset: Annotated[int, COUNT]


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """How much of a checkpoint has arrived; without a number it is there, and none is under way."""

    address: Annotated[str, ADDRESS]
    sealed: Annotated[bool, FLAG]
    upload: Annotated[str | None, nullable(TEXT)]
    files: Annotated[Sequence[FileProgress], list_of(message_of(FileProgress))]


@dataclass(frozen=True, slots=True)
class CheckpointBody:
    """The files of a checkpoint."""

    address: Annotated[str, ADDRESS]
    files: Annotated[Sequence[FileEntry], FILES]


@dataclass(frozen=True, slots=True)
class NewUploadBody:
    """The files of a checkpoint that is to come."""

    files: Annotated[Sequence[FileEntry], FILES]
    key: Annotated[str | None, KEY] = None


CHECKPOINT = message_of(CheckpointBody)
NEW_UPLOAD = message_of(NewUploadBody)
UPLOAD = message_of(UploadProgress)
SENT = only("offset", COUNT)
SEALED = only("address", ADDRESS)

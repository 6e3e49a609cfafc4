"""JSON schemas of what the API takes and gives; `openapi` makes a document of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from evolvent.core.records import Cause, JobState
from evolvent.store.codec.file_list import MOST_FILES
from evolvent.store.codec.messages import MOST, MOST_SECONDS
from evolvent.store.records import JOB_COLUMNS, FailureKind, StudyState

Schema: TypeAlias = Mapping[str, Any]


def _object(required: Mapping[str, Schema], **optional: Schema) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


def _list(items: Schema) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
SMALL: Schema = {"type": "integer", "minimum": 0, "maximum": MOST}
SECONDS: Schema = {"type": "number", "minimum": -MOST_SECONDS, "maximum": MOST_SECONDS}
JOB_NAME: Schema = {"type": "string", "pattern": "^m[0-9]{1,9}r[0-9]{1,9}$", "examples": ["m3r12"]}
ADDRESS: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
WORKER: Schema = {"type": "string", "minLength": 1, "maxLength": 200}
KEY: Schema = {
    **_or_null({"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[ -~]+$"}),
    "description": "Names this call, such as a UUID: sent again with it, nothing is done twice.",
}
VALUE: Schema = {"type": ["string", "number", "boolean", "null"]}
HYPERPARAMETERS: Schema = {"type": "object", "additionalProperties": VALUE}
METRIC: Schema = {"anyOf": [NUMBER, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
METRICS: Schema = {"type": "object", "additionalProperties": METRIC}
RECORD: Schema = {
    "type": "object",
    "required": ["name", "metric", "mode", "space", "algorithm", "population", "rounds"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 100},
        "metric": {"type": "string", "minLength": 1, "maxLength": 100},
        "mode": {"enum": ["max", "min"]},
        "space": {"type": "object", "minProperties": 1},
        "algorithm": {"anyOf": [TEXT, {"type": "object"}]},
        "population": {"type": "integer", "minimum": 1},
        "rounds": {"type": "integer", "minimum": 1},
        "seed": COUNT,
        "synchronous": {"type": "boolean"},
        "initial": _list({"type": "object"}),
        "durability": {"enum": ["power", "process"]},
        "max_failures": COUNT,
        "target": _or_null(NUMBER),
        "trainable": _or_null(TEXT),
    },
    "additionalProperties": False,
}
JOB: Schema = _object({
    "job": JOB_NAME,
    "member": COUNT,
    "round": COUNT,
    "state": {"enum": [state.value for state in JobState]},
    "hyperparameters": HYPERPARAMETERS,
    "parent": _or_null(JOB_NAME),
    "score": _or_null(NUMBER),
    "metrics": METRICS,
    "checkpoint": _or_null(ADDRESS),
    "parent_checkpoint": _or_null(ADDRESS),
    "attempt": COUNT,
    "reason": TEXT,
    "cause": {"enum": [cause.value for cause in Cause]},
    "error": _or_null(TEXT),
    "worker": _or_null(TEXT),
    "started_at": _or_null(NUMBER),
    "finished_at": _or_null(NUMBER),
})  # fmt: skip
STATUS: Schema = _object({
    "id": COUNT,
    "record": RECORD,
    "state": {"enum": [state.value for state in StudyState]},
    "counts": {"type": "object", "additionalProperties": COUNT},
    "members": COUNT,
    "best": _or_null(JOB_NAME),
    "best_score": _or_null(NUMBER),
    "stopped": _or_null(TEXT),
    "created_at": NUMBER,
    "started_at": _or_null(NUMBER),
    "changed_at": _or_null(NUMBER),
})  # fmt: skip
LEASE: Schema = _object({"study": COUNT, "worker": TEXT, "job": JOB})
POINT: Schema = _object({"step": NUMBER, "values": METRICS})
MEMBER: Schema = _object({"newest": _or_null(JOB), "open": _or_null(JOB)})
MEMBER_POINT: Schema = {
    "type": "array",
    "prefixItems": [COUNT, NUMBER, TEXT],
    "minItems": 3,
    "maxItems": 3,
}
ROW: Schema = {"type": "array", "items": {"type": ["string", "number", "null"]}}
FAILURE: Schema = _object(
    {"kind": {"enum": [kind.value for kind in FailureKind]}, "message": TEXT},
    traceback=_or_null(TEXT),
)
FAILED: Schema = _object({
    "job": JOB_NAME,
    "attempt": COUNT,
    "kind": {"enum": [kind.value for kind in FailureKind]},
    "message": TEXT,
    "traceback": _or_null(TEXT),
    "worker": TEXT,
    "at": NUMBER,
})  # fmt: skip
ERROR: Schema = _object({
    "error": _object({"type": TEXT, "message": TEXT, "field": _or_null(TEXT)}),
})  # fmt: skip

STUDIES: Schema = _object({"studies": _list(STATUS)})
STUDY_ID: Schema = _object({"id": COUNT})
JOBS: Schema = _object({"jobs": _list(JOB)})
JOBS_PAGE: Schema = _object({"jobs": _list(JOB), "next": _or_null(COUNT), "total": COUNT})
MEMBERS_PAGE: Schema = _object({"members": _list(MEMBER), "next": _or_null(COUNT), "total": COUNT})
POINTS_PAGE: Schema = _object({"points": _list(POINT), "next": _or_null(COUNT), "total": COUNT})
FAILURES: Schema = _object({"failures": _list(FAILED)})
JOB_IDS: Schema = _object({"jobs": _list(JOB_NAME)})
JOB_ID: Schema = _object({"job": JOB_NAME})
RELEASED: Schema = _object({"released": COUNT})
FREED: Schema = _object({"freed": COUNT})

_FENCE = {"member": SMALL, "round": SMALL, "attempt": SMALL, "worker": WORKER}
_POINTS = _or_null(_list(POINT))

NOTHING: Schema = _object({})
NEW_STUDY: Schema = _object({"record": RECORD}, key=KEY)
CLAIM: Schema = _object(
    {"worker": WORKER},
    lease_s=_or_null(SECONDS),
    prefer=_or_null(SMALL),
    wait_s=_or_null({"type": "number", "minimum": 0, "maximum": 60}),
    key=KEY,
)
HEARTBEAT: Schema = _object(_FENCE, lease_s=_or_null(SECONDS), points=_POINTS, key=KEY)
_RESULT = {"metrics": METRICS, "checkpoint": ADDRESS}
REPORT: Schema = _object({**_FENCE, **_RESULT}, score=_or_null(NUMBER), points=_POINTS, key=KEY)
FAIL: Schema = _object({**_FENCE, "failure": FAILURE}, key=KEY)
RELEASE: Schema = _object({"worker": WORKER, "failure": FAILURE}, key=KEY)
REPARENT: Schema = _object({**_FENCE, "parent": JOB_NAME, "reason": TEXT}, key=KEY)
STOP: Schema = _object({}, reason={"type": "string", "minLength": 1, "maxLength": 1000})
EXTEND: Schema = _object({"rounds": SMALL})
RETARGET: Schema = _object({"target": _or_null(NUMBER)})
REMEMBER: Schema = _object({"trainable": TEXT})
PUSH: Schema = _object(
    {"hyperparameters": {"type": "object"}},
    done=_or_null(_object({**_RESULT, "score": NUMBER}, points=_POINTS)),
    key=KEY,
)
ONE_JOB: Schema = _object({"job": JOB_NAME})

STATE_QUERY: Schema = {
    "type": "string",
    "description": "States with commas between them; all when left out.",
    "examples": ["done,failed"],
}
AFTER_QUERY: Schema = {**SMALL, "description": "Leave out so many; `next` of the page before."}
LIMIT_QUERY: Schema = {**SMALL, "description": "At most so many; 100 unless told, 10,000 at most."}
COLUMNS_QUERY: Schema = {
    "type": "string",
    "description": f"Some of {', '.join(JOB_COLUMNS)}, with commas between them.",
    "examples": ["member,round,score"],
}
CHOICE_QUERY: Schema = {
    "type": "string",
    "description": "best, kept, pinned, none, or jobs with commas between them.",
}
_FILE = _object({"name": TEXT, "size": COUNT, "sha256": ADDRESS})
_SENT = _object({"name": TEXT, "size": COUNT, "offset": COUNT})
CHECKPOINT = _object({"address": ADDRESS, "files": _list(_FILE)})
NEW_UPLOAD = _object({"files": {**_list(_FILE), "maxItems": MOST_FILES}}, key=KEY)
UPLOAD = _object(
    {
        "address": ADDRESS,
        "sealed": {"type": "boolean"},
        "upload": _or_null(TEXT),
        "files": _list(_SENT),
    }
)
SENT = _object({"offset": COUNT})
SEALED = _object({"address": ADDRESS})

"""The settings of a study in JSON: as the service takes and tells them, and as an archive does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import Annotated, Any, get_args

from evolvent.core.records import JobId
from evolvent.core.study import BEST_PATTERN, StudyRecord
from evolvent.errors import ConfigError
from evolvent.store.codec.fields import (
    COUNT,
    JOB_NAME,
    NUMBER,
    TEXT,
    Field,
    Malformed,
    Schema,
    check,
    list_of,
    message_of,
    nullable,
    object_,
    text,
)
from evolvent.store.codec.records import INTERVENTION
from evolvent.store.dump import StudyDump
from evolvent.store.interventions import Intervention
from evolvent.store.records import StoppedBy

_KNOWN = {field.name: field for field in fields(StudyRecord)}
_SINCE = {"best"}
"""Settings that archives of an older evolvent lack."""
_NEEDED = {name for name, field in _KNOWN.items() if field.default is MISSING}
_WRONG = (ConfigError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What reading settings that mean nothing may raise."""

_SCHEMA: Schema = {
    "type": "object",
    "required": ["name", "metric", "mode", "space", "algorithm", "population", "rounds"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 100},
        "metric": {"type": "string", "minLength": 1, "maxLength": 100},
        "mode": {"enum": ["max", "min"]},
        "space": {"type": "object", "minProperties": 1},
        "algorithm": {"anyOf": [TEXT.schema, {"type": "object"}]},
        "population": {"type": "integer", "minimum": 1},
        "rounds": {"type": "integer", "minimum": 1},
        "seed": COUNT.schema,
        "synchronous": {"type": "boolean"},
        "initial": {"type": "array", "items": {"type": "object"}},
        "durability": {"enum": ["power", "process"]},
        "max_failures": COUNT.schema,
        "target": nullable(NUMBER).schema,
        "trainable": nullable(TEXT).schema,
        "best": {"type": "string", "pattern": f"^({BEST_PATTERN})$"},
    },
    "additionalProperties": False,
}


def record_from_json(plain: dict[str, Any], *, partial: bool = False) -> StudyRecord:
    """Return the settings that a JSON object holds, all checked; no code they name is imported.

    It is as `StudyRecord.to_json` gives it; `partial` lets those be left out that have a default.

    Raises:
        Malformed: names the setting, what came and what was wanted.
    """
    needed = _NEEDED if partial else _KNOWN.keys() - _SINCE
    unknown = sorted(map(str, plain.keys() - _KNOWN.keys()))
    missing = sorted(needed - plain.keys())
    check(not unknown, "record", unknown, "settings that this evolvent knows")
    check(not missing, "record", missing, "no setting left out")
    initial = plain.get("initial", [])
    check(isinstance(initial, list), "initial", initial, "a list")
    try:
        return StudyRecord.from_json({**plain, "initial": initial}).checked()
    except _WRONG as e:
        raise Malformed(f"record: {e}", field=getattr(e, "field", None) or "record") from e


RECORD = Field(
    _SCHEMA,
    lambda value, name: record_from_json(object_(value, name), partial=True),
    StudyRecord.to_json,
)
"""The settings of a study; those that have a default may be left out."""
_WHOLE_RECORD = replace(RECORD, read=lambda value, name: record_from_json(object_(value, name)))
_STOPPERS = get_args(StoppedBy)
STOPPER = text(" or ".join(map(repr, _STOPPERS)), _STOPPERS.__contains__, enum=[*_STOPPERS])


@dataclass(frozen=True, slots=True)
class StudySettings:
    """What an archive tells of a study beside its log; the fields are those of `StudyDump`."""

    record: Annotated[StudyRecord, _WHOLE_RECORD]
    created_at: Annotated[float, NUMBER]
    started_at: Annotated[float | None, nullable(NUMBER)]
    stopped: Annotated[str | None, nullable(TEXT)]
    stopped_by: Annotated[StoppedBy | None, nullable(STOPPER)]
    pins: Annotated[Sequence[JobId], list_of(JOB_NAME)]
    interventions: Annotated[Sequence[Intervention], list_of(INTERVENTION)] = ()

    def __post_init__(self) -> None:
        both = (self.stopped is None) == (self.stopped_by is None)
        check(both, "stopped_by", self.stopped_by, "a word if it is stopped")

    @classmethod
    def of(cls, dump: StudyDump) -> StudySettings:
        """Return those of a dump."""
        return cls(**{field.name: getattr(dump, field.name) for field in fields(cls)})


SETTINGS = message_of(StudySettings)

"""The settings of a study as an archive or the service tells them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, get_args

from evolvent.core.records import JobId
from evolvent.core.study import StudyRecord
from evolvent.errors import ConfigError
from evolvent.store.codec.fields import (
    Malformed,
    array,
    check,
    number,
    object_,
    optional_number,
    optional_text,
)
from evolvent.store.codec.records import job_id
from evolvent.store.dump import StoppedBy, StudyDump
from evolvent.validation import (
    MOST,
    check_choice,
    check_count,
    check_flag,
    check_name,
    check_number,
    check_path,
)

_KNOWN = {field.name: field for field in fields(StudyRecord)}
_NEEDED = {name for name, field in _KNOWN.items() if field.default is MISSING}
_WRONG = (ConfigError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What reading settings that mean nothing may raise."""


@dataclass(frozen=True, slots=True)
class StudySettings:
    """What is told of a study beside its log; the fields are those of `StudyDump`."""

    record: StudyRecord
    created_at: float
    started_at: float | None
    stopped: str | None
    stopped_by: StoppedBy | None
    pins: Sequence[JobId]

    @classmethod
    def of(cls, dump: StudyDump) -> StudySettings:
        """Return those of a dump."""
        return cls(**{field.name: getattr(dump, field.name) for field in fields(cls)})

    def to_json(self) -> dict[str, Any]:
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**plain, "record": self.record.to_json(), "pins": list(self.pins)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StudySettings:
        """Read settings; no code that they name is imported.

        Raises:
            Malformed: names the setting, what came and what was wanted.
        """
        stopped, by = optional_text(data, "stopped"), optional_text(data, "stopped_by")
        check((stopped is None) == (by is None), "stopped_by", by, "a word if it is stopped")
        return cls(
            record=record_from_json(object_(data, "record")),
            created_at=number(data, "created_at"),
            started_at=optional_number(data, "started_at"),
            stopped=stopped,
            stopped_by=_stopper(by),
            pins=[job_id({"pin": pin}, "pin") for pin in array(data, "pins")],
        )


def _stopper(word: str | None) -> StoppedBy | None:
    for known in get_args(StoppedBy):
        if word == known:
            return known  # type: ignore[no-any-return]  # what get_args gives has no type
    check(word is None, "stopped_by", word, " or ".join(map(repr, get_args(StoppedBy))))
    return None


def record_from_json(plain: Mapping[str, Any], *, partial: bool = False) -> StudyRecord:
    """Return the settings that a JSON object holds, all checked; no code they name is imported.

    Args:
        plain: as `StudyRecord.to_json` gives it.
        partial: whether those that have a default may be left out.

    Raises:
        Malformed: names the setting, what came and what was wanted.
    """
    needed = _NEEDED if partial else _KNOWN.keys()
    unknown = sorted(map(str, plain.keys() - _KNOWN.keys()))
    missing = sorted(needed - plain.keys())
    check(not unknown, "record", unknown, "settings that this evolvent knows")
    check(not missing, "record", missing, "no setting left out")
    initial = plain.get("initial", [])
    check(isinstance(initial, list), "initial", initial, "a list")
    try:
        record = StudyRecord.from_json({**plain, "initial": initial})
        _check(record)
    except _WRONG as e:
        raise Malformed(f"record: {e}", field=getattr(e, "field", None) or "record") from e
    return record


def _check(record: StudyRecord) -> None:
    check_name("name", record.name)
    check_name("metric", record.metric)
    check_choice("mode", record.mode, ("max", "min"))
    check_count("population", record.population, least=1, most=MOST)
    check_count("rounds", record.rounds, least=1, most=MOST)
    check_count("seed", record.seed, least=0)
    check_flag("synchronous", record.synchronous)
    check_choice("durability", record.durability, ("power", "process"))
    check_count("max_failures", record.max_failures, least=0, most=MOST)
    check(len(record.initial) <= record.population, "initial", len(record.initial), "one a member")
    for given in record.initial:
        record.space.check(given, partial=True)
    if record.target is not None:
        check_number("target", record.target)
    if record.trainable is not None:
        check_path("trainable", record.trainable)

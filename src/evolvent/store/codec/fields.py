"""Kinds of values in JSON that nobody vouches for: each with its check, its way back, its schema.

What is on the wire, in archives and in the OpenAPI document is declared by these, each message in
one place: `records` has the lines of the log, `messages` what the service is asked and answers.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from operator import attrgetter
from typing import Any, Generic, TypeAlias, TypeVar, get_type_hints

from evolvent.core.records import Hyperparameters, JobId, Metrics
from evolvent.errors import UnknownJob
from evolvent.validation import MOST, cut

Schema: TypeAlias = Mapping[str, Any]

NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""What stands for numbers that JSON has none for."""
DEEPEST = 20
"""How many lists and objects may be within each other in a value or metric."""
_LARGEST = sys.float_info.max
_MOST_COUNTED = 2**62 - 1
_ADDRESS_DIGITS = 64
_HEX = frozenset("0123456789abcdef")

_T = TypeVar("_T")
_E = TypeVar("_E", bound=StrEnum)


class Malformed(ValueError):
    """What was read is not what it should be; says what came and what was wanted.

    Attributes:
        field: which one, as `EvolventError.field`.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


def wrong(field: str, got: Any, wanted: str, *, part: str = "") -> Malformed:
    """Return the error for a field that is not as it should be; `part` says where in it."""
    return Malformed(f"{field}{part}: got {cut(got)}, wanted {wanted}", field=field)


def check(holds: bool, field: str, got: Any, wanted: str, *, part: str = "") -> None:
    """Refuse a field unless something holds; `part` says where in it."""
    if not holds:
        raise wrong(field, got, wanted, part=part)


@dataclass(frozen=True, slots=True)
class Field(Generic[_T]):
    """A kind of value.

    Attributes:
        schema: its JSON schema.
        read: takes what came, and the name of the field; returns the value, or raises `Malformed`.
        write: undoes `read`; None where a value stands for itself.
        nullable: whether it may be null, or missing.
        instead: what null stands for.
    """

    schema: Schema
    read: Callable[[Any, str], _T]
    write: Callable[[_T], Any] | None = None
    nullable: bool = False
    instead: Any = None

    def from_json(self, value: Any, name: str) -> _T:
        """Return the value that came in the field of this name, None for nothing.

        Raises:
            Malformed: names the field, what came and what was wanted.
        """
        if value is None and self.nullable:
            return self.instead  # type: ignore[no-any-return]  # `nullable` takes no other
        return self.read(value, name)

    def to_json(self, value: _T) -> Any:
        """Return what strict JSON can hold."""
        if self.write is None or (value is None and self.nullable):
            return value
        return self.write(value)


def text(
    wanted: str = "a string", holds: Callable[[str], bool] | None = None, **schema: Any
) -> Field[str]:
    """Return the kind of strings for which something holds; the schema says as much as it can."""

    def read(value: Any, name: str) -> str:
        if not isinstance(value, str) or not (holds is None or holds(value)):
            raise wrong(name, value, wanted)
        return value

    return Field({"type": "string", **schema}, read)


def printable(least: int, most: int) -> Field[str]:
    """Return the kind of texts of so many characters that can be shown in one line."""
    return text(
        f"{least} to {most} printable characters",
        lambda value: least <= len(value) <= most and value.isprintable(),
        minLength=least,
        maxLength=most,
    )


def whole(most: int = _MOST_COUNTED) -> Field[int]:
    """Return the kind of whole numbers from 0."""
    limited = most < _MOST_COUNTED
    wanted = f"a whole number, 0 to {most}" if limited else "a whole number, 0 or more"

    def read(value: Any, name: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise wrong(name, value, wanted)
        return value

    return Field({"type": "integer", "minimum": 0, **({"maximum": most} if limited else {})}, read)


def number(least: float = -_LARGEST, most: float = _LARGEST) -> Field[float]:
    """Return the kind of finite numbers, whole ones among them."""
    limits = {} if most == _LARGEST else {"minimum": least, "maximum": most}
    wanted = f"a number, {least:g} to {most:g}" if limits else "a finite number"

    def read(value: Any, name: str) -> float:
        plain = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not plain or not least <= value <= most:
            raise wrong(name, value, wanted)
        return float(value)

    return Field({"type": "number", **limits}, read)


def choice(of: type[_E], *, but: Sequence[_E] = ()) -> Field[_E]:
    """Return the kind of the words of an enumeration, but for some."""
    words = {member.value: member for member in of if member not in but}
    wanted = " or ".join(map(repr, words))

    def read(value: Any, name: str) -> _E:
        if not isinstance(value, str) or value not in words:
            raise wrong(name, value, wanted)
        return words[value]

    return Field({"enum": [*words]}, read, attrgetter("value"))


def nullable(kind: Field[_T], instead: Any = None) -> Field[_T | None]:
    """Return the kind of values that may be null, or missing, which stands for `instead`."""
    schema = {"anyOf": [kind.schema, {"type": "null"}]}
    return Field(schema, kind.read, kind.write, nullable=True, instead=instead)  # type: ignore[arg-type]  # null is never written by it


def list_of(kind: Field[_T], *, most: int | None = None) -> Field[list[_T]]:
    """Return the kind of lists of up to so many values of one kind."""
    limit = {} if most is None else {"maxItems": most}

    def read(value: Any, name: str) -> list[_T]:
        if not isinstance(value, list):
            raise wrong(name, value, "a list")
        return [kind.from_json(item, name) for item in value]

    def write(values: Sequence[_T]) -> list[Any]:
        return list(values) if kind.write is None else list(map(kind.write, values))

    return Field({"type": "array", "items": kind.schema, **limit}, read, write)


def object_(value: Any, name: str) -> dict[str, Any]:
    """Return a JSON object, whatever is in it."""
    if not isinstance(value, dict):
        raise wrong(name, value, "an object")
    return value


def only(name: str, kind: Field[_T]) -> Field[_T]:
    """Return the kind of objects that have one field, which stand for its value."""

    def read(value: Any, within: str) -> _T:
        if name not in object_(value, within):
            raise Malformed(f"{name}: missing, wanted it", field=name)
        return kind.from_json(value[name], name)

    return Field(object_schema({name: kind}), read, lambda value: {name: kind.to_json(value)})


def object_schema(needed: Mapping[str, Field[Any]], **optional: Field[Any]) -> dict[str, Any]:
    """Return the JSON schema of objects that have these fields, and no more."""
    return {
        "type": "object",
        "properties": {name: kind.schema for name, kind in {**needed, **optional}.items()},
        "required": list(needed),
        "additionalProperties": False,
    }


def message(
    make: Callable[..., _T],
    needed: Mapping[str, Field[Any]],
    *,
    optional: Mapping[str, Field[Any]] | None = None,
    inline: Mapping[str, Field[Any]] | None = None,
    derived: Collection[str] = (),
    at: Mapping[str, str] | None = None,
) -> Field[_T]:
    """Return the kind of objects that stand for a record; what they have beside it is ignored.

    Args:
        make: takes the values by the names of the fields; what is missing it has defaults for.
        needed: fields by name.
        optional: those that may be left out.
        inline: parts of the record whose own fields stand among these.
        derived: those of `needed` that follow from the rest: written for whoever reads them.
        at: where in a record the fields are that are not attributes of their own names.
    """
    optional, inline, at = optional or {}, inline or {}, at or {}
    own = {**needed, **optional}
    given = {name: kind for name, kind in own.items() if name not in derived}
    schema = object_schema(needed, **optional)
    for kind in inline.values():
        schema["properties"] |= kind.schema["properties"]
        schema["required"] += kind.schema["required"]
    return Field(schema, _reader(make, given, optional, inline), _writer(own, inline, at))


def _reader(
    make: Callable[..., _T],
    own: Mapping[str, Field[Any]],
    optional: Mapping[str, Field[Any]],
    inline: Mapping[str, Field[Any]],
) -> Callable[[Any, str], _T]:
    parts = [(name, kind.read) for name, kind in inline.items()]

    def read(value: Any, name: str) -> _T:
        data = object_(value, name)
        found = {}
        for key, kind in own.items():
            given = data.get(key)
            if given is None and key in optional and key not in data:
                continue
            # Not by `from_json`, one call less: this is done for every field of a long log.
            null = given is None and kind.nullable
            found[key] = kind.instead if null else kind.read(given, key)
        for key, read_part in parts:
            found[key] = read_part(data, key)
        return make(**found)

    return read


def _writer(
    own: Mapping[str, Field[Any]], inline: Mapping[str, Field[Any]], at: Mapping[str, str]
) -> Callable[[Any], dict[str, Any]]:
    values = [(name, attrgetter(at.get(name, name)), kind) for name, kind in own.items()]
    parts = [(attrgetter(name), kind.to_json) for name, kind in inline.items()]

    def write(record: Any) -> dict[str, Any]:
        data = {}
        for name, get, kind in values:
            value = get(record)
            null = value is None and kind.nullable
            data[name] = value if null or kind.write is None else kind.write(value)
        for get, write_part in parts:
            data |= write_part(get(record))
        return data

    return write


def message_of(record: type[_T], **inline: Field[Any]) -> Field[_T]:
    """Return the kind of objects that stand for a dataclass whose fields are `Annotated` by kinds.

    Those with a default may be left out. See `message` for `inline`.
    """
    hints = get_type_hints(record, include_extras=True)
    kinds = {f.name: hints[f.name].__metadata__[0] for f in fields(record) if f.name not in inline}  # type: ignore[arg-type]  # it is a dataclass
    optional = {f.name for f in fields(record) if f.default is not MISSING}  # type: ignore[arg-type]  # as above
    return message(
        record,
        {name: kind for name, kind in kinds.items() if name not in optional},
        optional={name: kind for name, kind in kinds.items() if name in optional},
        inline=inline,
    )


def _read_numbers(value: Any, name: str) -> Mapping[str, float]:
    values = object_(value, name)
    for key, number in values.items():
        if not isinstance(number, (float, int)):
            if not isinstance(number, str) or number not in NOT_FINITE:
                wanted = f"a number, or {', '.join(NOT_FINITE)}"
                raise wrong(name, number, wanted, part=f": {key}")
            values[key] = NOT_FINITE[number]
    return values


def _read_metrics(value: Any, name: str) -> Metrics:
    _check_depth(values := object_(value, name), name)
    return {key: _from_words(inner) for key, inner in values.items()}


def _write_metrics(values: Metrics) -> dict[str, Any]:
    return {name: _to_words(value) for name, value in values.items()}


def _from_words(value: Any) -> Any:
    if isinstance(value, str):
        return NOT_FINITE.get(value, value)
    if isinstance(value, list):
        return list(map(_from_words, value))
    if isinstance(value, dict):
        return {key: _from_words(inner) for key, inner in value.items()}
    return value


def _to_words(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return list(map(_to_words, value))
    if isinstance(value, Mapping):
        return _write_metrics(value)
    if not isinstance(value, float) or abs(value) <= _LARGEST:
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _read_hyperparameters(value: Any, name: str) -> Hyperparameters:
    values = object_(value, name)
    for key, given in values.items():
        if isinstance(given, (list, dict)):
            _check_depth(given, f"{name}.{key}")
    return values


def _check_depth(value: Any, name: str, depth: int = 1) -> None:
    """Refuse lists and objects within each other beyond reason, which nothing here could walk."""
    check(depth <= DEEPEST, name, value, f"at most {DEEPEST} levels of lists and objects")
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, (list, dict)):
            _check_depth(inner, name, depth + 1)


def _read_job(value: Any, name: str) -> JobId:
    try:
        job = JobId.parse(value)
    except (UnknownJob, ValueError) as e:  # not of that form, or of thousands of digits
        raise wrong(name, value, "a job such as 'm3r12'") from e
    check(max(job.member, job.round) <= MOST, name, value, "a job such as 'm3r12'")
    return job


def _read_flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise wrong(name, value, "true or false")
    return value


FLAG = Field({"type": "boolean"}, _read_flag)
TEXT, COUNT, SMALL, NUMBER = text(), whole(), whole(MOST), number()
ADDRESS = text(
    "64 hexadecimal digits in lower case",
    lambda value: len(value) == _ADDRESS_DIGITS and set(value) <= _HEX,
    pattern="^[0-9a-f]{64}$",
)
JOB_NAME = Field(
    {"type": "string", "pattern": "^m[0-9]{1,9}r[0-9]{1,9}$", "examples": ["m3r12"]}, _read_job
)
_NUMBER: Schema = {"anyOf": [NUMBER.schema, {"enum": [*NOT_FINITE]}]}
NUMBERS: Field[Mapping[str, float]] = Field(
    {"type": "object", "additionalProperties": _NUMBER}, _read_numbers, _write_metrics
)
"""Numbers by name; those that are not finite are strings in JSON."""
METRICS: Field[Metrics] = Field(
    {"type": "object", "additionalProperties": True}, _read_metrics, _write_metrics
)
"""Numbers by name, and beside them anything that JSON has; numbers as in `NUMBERS`."""
HYPERPARAMETERS: Field[Hyperparameters] = Field(
    {"type": "object", "additionalProperties": True}, _read_hyperparameters, dict
)

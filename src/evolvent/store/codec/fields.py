"""Fields of JSON objects that nobody vouches for, each checked as it is read."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_MOST = 2**62
_LARGEST = sys.float_info.max


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
    return Malformed(f"{field}{part}: got {got!r:.80}, wanted {wanted}", field=field)


def check(holds: bool, field: str, got: Any, wanted: str, *, part: str = "") -> None:
    """Refuse a field unless something holds; `part` says where in it."""
    if not holds:
        raise wrong(field, got, wanted, part=part)


def text(data: Mapping[str, Any], name: str) -> str:
    """Return a string."""
    value = data.get(name)
    if not isinstance(value, str):
        raise wrong(name, value, "a string")
    return value


def optional_text(data: Mapping[str, Any], name: str) -> str | None:
    """Return a string, or None where there is none."""
    return None if data.get(name) is None else text(data, name)


def choice(data: Mapping[str, Any], name: str, choices: Sequence[str]) -> str:
    """Return one of these words."""
    value = text(data, name)
    check(value in choices, name, value, " or ".join(map(repr, choices)))
    return value


def non_negative(data: Mapping[str, Any], name: str) -> int:
    """Return a whole number, 0 or more."""
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MOST:
        raise wrong(name, value, "a whole number, 0 or more")
    return value


def number(data: Mapping[str, Any], name: str) -> float:
    """Return a finite number."""
    value = data.get(name)
    if not isinstance(value, (int, float)) or not abs(value) <= _LARGEST:
        raise wrong(name, value, "a finite number")
    return value


def optional_number(data: Mapping[str, Any], name: str) -> float | None:
    """Return a finite number, or None where there is none."""
    return None if data.get(name) is None else number(data, name)


def object_(data: Any, name: str) -> dict[str, Any]:
    """Return an object."""
    value = data.get(name) if isinstance(data, Mapping) else None
    if not isinstance(value, dict):
        raise wrong(name, value, "an object")
    return value


def array(data: Mapping[str, Any], name: str) -> list[Any]:
    """Return a list."""
    value = data.get(name)
    if not isinstance(value, list):
        raise wrong(name, value, "a list")
    return value


def metrics(data: Mapping[str, Any], name: str) -> dict[str, float]:
    """Return numbers by name; those not finite are strings."""
    values = object_(data, name)
    for key, value in values.items():
        if not isinstance(value, (float, int)):
            if not isinstance(value, str) or value not in _NOT_FINITE:
                wanted = f"a number, or {', '.join(_NOT_FINITE)}"
                raise wrong(name, value, wanted, part=f": {key}")
            values[key] = _NOT_FINITE[value]
    return values


def plain_metrics(values: Mapping[str, float]) -> dict[str, Any]:
    """Undo `metrics`: return what strict JSON can hold."""
    return {name: x if abs(x) <= _LARGEST else _word(x) for name, x in values.items()}


def strict_json(line: bytes | str, *, once: bool = False) -> Any:
    """Return the value of JSON text.

    Args:
        line: the text, bytes in UTF-8.
        once: whether to refuse objects that have a field twice.

    Raises:
        Malformed: it is none, has NaN or infinities, or nests beyond reason.
    """
    try:
        decode = _decode_once if once else _decode
        return decode(line if isinstance(line, str) else line.decode())
    except Malformed:
        raise
    except (ValueError, RecursionError) as e:
        raise Malformed(f"no JSON: {e}") from e


encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
"""Strict JSON in one line of ASCII; numbers come back bit for bit.

For the wire, archives and pages. What a database holds, which may be NaN, is of `sql.rows`.
"""


def _refuse(constant: str) -> NoReturn:
    raise Malformed(f"no JSON: got {constant}")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Malformed(f"no JSON: got {twice!r:.80}, wanted every field once")
    return found


_decode = json.JSONDecoder(parse_constant=_refuse).decode
_decode_once = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_unique_keys).decode


def _word(value: float) -> float | str:
    if isinstance(value, int):
        return value  # of hundreds of digits
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"

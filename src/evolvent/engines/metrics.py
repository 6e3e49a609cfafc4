"""What training reports, in every form of it: numbers, and beside them what JSON can hold."""

from __future__ import annotations

import json
import logging
import math
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from evolvent.errors import TrainableError
from evolvent.store.codec.fields import DEEPEST, NOT_FINITE
from evolvent.validation import cut, cut_middle, utf8_text

MOST = 2**16
"""So many characters of JSON one report may hold beside its numbers."""
_LONGEST = 300  # characters of what reading a metric raised

_warned: set[tuple[str, str]] = set()
_logger = logging.getLogger("evolvent")


class _Unfit(Exception):
    """A value cannot be kept; says why."""


def kept_metrics(
    values: Mapping[Any, Any], *, study: str, objective: str | None = None
) -> dict[str, Any]:
    """Return metrics as the log keeps them; what it cannot keep is left out, with one warning.

    So is an entry of which reading raises, such as one of a mapping that computes its values when
    they are asked for. Nested dicts become names with dots. Numbers are those of Python, of NumPy,
    and arrays and tensors of one element. None, texts, lists, and larger arrays as lists are kept
    as they are, up to `MOST` characters a report.

    Args:
        values: what training returned.
        study: the name of the study: a warning comes once for each name in it.
        objective: a name whose value has to be a number.

    Raises:
        TrainableError: that value is none, or reading it raises.
    """
    found: dict[str, Any] = {}
    room = MOST
    for name, value in _flat(values, study=study):
        try:
            plain = _plain(value)
            if name == objective and not isinstance(plain, (float, int)):
                raise _Unfit(_described(value, plain))
            if name in found:
                raise _Unfit("there is another of this name")
            if isinstance(plain, (str, list, dict)):
                room -= (size := len(json.dumps(plain)))
                if room < 0:
                    room += size
                    raise _Unfit(f"more than {MOST // 1024} KiB of values that are no numbers")
            found[name] = plain
        except _Unfit as e:
            if name == objective:
                what = f"training returned: metric {name!r} must be a number, {e}"
                raise TrainableError(what) from e
            _warn(study, name, str(e))
    return found


def kept_numbers(values: Mapping[Any, Any], *, study: str) -> dict[str, float]:
    """Return the numbers among metrics; the others are left out, with one warning for each name."""
    found = {}
    for name, value in kept_metrics(values, study=study).items():
        if isinstance(value, (float, int)):
            found[name] = value
        else:
            _warn(study, name, f"a point takes numbers, got {cut(value)}")
    return found


def plain_number(value: Any) -> float | None:
    """Return a number of Python for one of any library; None when the value is none."""
    with suppress(_Unfit):
        plain = _plain(value)
        return plain if isinstance(plain, (float, int)) else None
    return None


def _flat(values: Mapping[Any, Any], *, study: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield names with dots, and their values; for one of which reading raises, an `_Unfit`."""
    for key in values:
        text = _key(key)
        name = f"{prefix}{text}"
        if text is None:
            _warn(study, f"{prefix}{cut(key)}", "a name must be a text or a number")
            continue
        try:
            value = values[key]
            if not isinstance(value, Mapping) or not value:
                yield name, value
            elif name.count(".") >= DEEPEST:
                _warn(study, name, "nested too deep")
            else:
                yield from _flat(value, study=study, prefix=f"{name}.")
        except Exception as e:  # noqa: BLE001 - whatever it raises: the others are there
            yield name, _raised(f"reading {name!r}", e)


def _key(key: Any) -> str | None:
    if isinstance(key, str):
        return utf8_text(key)
    number = key is None or isinstance(key, (Real, np.bool_))
    return str(_item(key)) if number else None


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it, but for NaN and infinities, which stay what they are."""
    if isinstance(value, _Unfit):
        raise value
    try:
        return _jsonable(value, depth=0)
    except _Unfit:
        raise
    except Exception as e:  # whatever it raises
        raise _raised(f"reading {type(value).__name__}", e) from e


def _jsonable(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return NOT_FINITE.get(value) or utf8_text(value)
    if isinstance(value, (Real, Decimal)):
        return _number(value)
    if isinstance(value, (Mapping, list, tuple)):
        return _nested(value, depth)
    return _jsonable(_of_array(value), depth + 1)


def _nested(value: Any, depth: int) -> Any:
    if depth > DEEPEST - 2:  # the lists and the metrics they are in
        raise _Unfit("nested too deep")
    if len(value) > MOST:
        raise _Unfit(f"too large: {len(value)} elements")
    if not isinstance(value, Mapping):
        return [_jsonable(inner, depth + 1) for inner in value]
    if None in map(_key, value):
        raise _Unfit("a name in it is neither a text nor a number")
    return {_key(key): _jsonable(inner, depth + 1) for key, inner in value.items()}


def _number(value: Any) -> float:
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        try:
            float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
        return int(value)
    try:
        item = _item(value)  # of a long double, one again
        return _number(item if isinstance(item, (int, float)) else float(item))
    except (ArithmeticError, ValueError, TypeError) as e:
        raise _Unfit(f"got {type(value).__name__} {cut(value)}") from e


def _of_array(value: Any) -> Any:
    """Return what an array or tensor of any library holds: a number, or lists."""
    kind = type(value)
    if isinstance(value, (bytes, bytearray, memoryview, type)):
        raise _Unfit(f"got {kind.__name__}")
    shape = getattr(value, "shape", None)
    n = math.prod(map(int, shape)) if shape is not None else 1
    if n > MOST:
        raise _Unfit(f"too large: {kind.__name__} with {n} elements")
    if n == 1 and hasattr(value, "item"):
        return _known(value.item())
    if hasattr(value, "tolist"):
        return _known(value.tolist())
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        return _known(array.item() if array.size == 1 else array.tolist())
    raise _Unfit(f"got {kind.__name__}")


def _item(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _known(value: Any) -> Any:
    """Return what came out of an array, if it is something that JSON has."""
    if value is None or isinstance(value, (str, Real, Decimal, list)):
        return value
    raise _Unfit(f"got {type(value).__name__}")


def _described(value: Any, plain: Any) -> str:
    got = f"got {type(value).__name__} {cut(value)}"
    if plain is None:
        return f"{got}: where there is none, return NaN, and only this member has failed"
    if not isinstance(plain, list) or isinstance(value, (list, tuple)):
        return got
    return f"{got}, {'more than one element' if plain else 'an empty array'}"


def _raised(doing: str, error: Exception) -> _Unfit:
    # Formats also an exception whose own `__str__` raises.
    text = "".join(traceback.format_exception_only(error)).strip()
    unfit = _Unfit(f"{doing} raised {cut_middle(text, _LONGEST)}")
    unfit.__cause__ = error
    return unfit


def _warn(study: str, name: str, why: str) -> None:
    if (study, name) not in _warned:
        _warned.add((study, name))
        _logger.warning("study %r: metric %r is left out: %s", study, name, why)

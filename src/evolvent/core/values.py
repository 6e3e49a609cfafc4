"""Values of hyperparameters: scalars, and lists and dicts of them, as JSON can hold them.

Space and training code know tuples; the log, files and the wire have lists, as JSON does.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from enum import Enum, EnumType
from numbers import Integral, Real
from typing import Any

import numpy as np

from evolvent.core.records import Value
from evolvent.validation import check_number, cut, invalid, plain_text

MOST = 10_000
"""So many characters of JSON one value may have: every job of a study is stored with it."""

_DEEPEST = 10
_TUPLE = "$tuple"
_LIKE_TUPLE = re.compile(r"\$+tuple")


def checked_value(owner: str, given: Any) -> Value:
    """Return a value of types of Python alone: arrays as lists, tuples as they are.

    Of what is a string or a number by its class, such as a member of a StrEnum, its value.

    Raises:
        ConfigError: it has what JSON cannot hold, or is too large; says what to do instead.
    """
    if _is_scalar(given):
        return _scalar(owner, given)
    value: Value = _checked(owner, given, depth=0)
    if len(json.dumps(value)) > MOST:
        raise invalid(
            owner,
            f"got a {type(given).__name__} of more than {MOST} characters, but every job is stored "
            "with it: give it a name, and look it up in the training code",
        )
    return value


def stored(value: Value) -> Value:
    """Return a value as the log has it: a copy, with lists for tuples."""
    if isinstance(value, (list, tuple)):
        return [stored(inner) for inner in value]
    if isinstance(value, dict):
        return {name: stored(inner) for name, inner in value.items()}
    return value


def copied(value: Value) -> Value:
    """Return a copy with tuples and lists as they are: whoever changes it changes no other."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(copied, value))
    if isinstance(value, dict):
        return {name: copied(inner) for name, inner in value.items()}
    return value


def copied_all(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return `copied` of each."""
    return {name: copied(value) for name, value in values.items()}


def identity(value: Any) -> Hashable:
    """Return what equal values share: 2 and 2.0, tuple and list; not 1 and True, nor 1 and "1"."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return list, tuple(map(identity, value))
    if isinstance(value, Mapping):
        return dict, frozenset((name, identity(inner)) for name, inner in value.items())
    if not isinstance(value, Hashable):  # a set; it equals nothing that a log can hold
        return type(value), id(value)
    return _kind(value), value


def to_json(value: Any) -> Any:
    """Return a value as JSON that tells tuples from lists; `from_json` undoes it.

    A tuple is `{"$tuple": […]}`; where that is a name of the user's, it gets one more "$".
    """
    if isinstance(value, tuple):
        return {_TUPLE: [to_json(inner) for inner in value]}
    if isinstance(value, list):
        return [to_json(inner) for inner in value]
    if isinstance(value, dict):
        return {
            f"${name}" if _LIKE_TUPLE.fullmatch(name) else name: to_json(inner)
            for name, inner in value.items()
        }
    return value


def from_json(data: Any) -> Any:
    """Return the value that `to_json` has written as `data`; other JSON as it is."""
    if isinstance(data, list):
        return [from_json(inner) for inner in data]
    if not isinstance(data, dict):
        return data
    if [*data] == [_TUPLE] and isinstance(data[_TUPLE], list):
        return tuple(from_json(inner) for inner in data[_TUPLE])
    return {
        name[1:] if name != _TUPLE and _LIKE_TUPLE.fullmatch(name) else name: from_json(inner)
        for name, inner in data.items()
    }


def text_of(value: Any) -> str:
    """Return a value as text: `str` of a scalar, JSON of a list or a dict."""
    nested = isinstance(value, (list, tuple, dict))
    return json.dumps(finite(value), ensure_ascii=False) if nested else str(value)


def as_cell(value: Any) -> Any:
    """Return `text_of` a list or a dict, and any other value as it is."""
    return text_of(value) if isinstance(value, (list, tuple, dict)) else value


def finite(value: Any) -> Any:
    """Return a value with None for what JSON has no number for: NaN and infinities."""
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def texts_of(values: Sequence[Any], text: Callable[[Any], str] = text_of) -> list[str]:
    """Return different values as texts; one that reads like another value is in quotes."""
    texts = list(map(text, values))
    n = Counter(texts)
    return [
        json.dumps(value) if isinstance(value, str) and n[value] > 1 else text
        for value, text in zip(values, texts, strict=True)
    ]


def plainer(value: Any) -> str | None:
    """Return what to write for a value that has a plain one; None if it has none."""
    if isinstance(value, EnumType):
        return f"wanted its values: ev.Choice([member.value for member in {value.__name__}])"
    if isinstance(value, Enum):
        return f"wanted its value, {type(value).__name__}.{value.name}.value"
    if hasattr(value, "__fspath__") and not isinstance(value, type):
        return "wanted its text, str(path)"
    return None


def is_number(value: Any) -> bool:
    """Return whether the value is a real number, of NumPy or not; a bool is none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_scalar(given: Any) -> bool:
    return given is None or isinstance(given, (bool, str, Real))


def _scalar(owner: str, given: Any) -> Value:
    if given is None or isinstance(given, bool):
        return given
    if isinstance(given, str):
        return plain_text(given)
    return int(given) if isinstance(given, Integral) else check_number(owner, float(given))


def _checked(owner: str, given: Any, *, depth: int) -> Any:
    if _is_scalar(given):
        return _scalar(owner, given)
    if depth > _DEEPEST:
        raise invalid(owner, f"got {cut(given)}, wanted at most {_DEEPEST} levels")
    if isinstance(given, (np.ndarray, np.generic)):
        return _checked(owner, given.tolist(), depth=depth)
    if isinstance(given, (list, tuple)):
        inner = [_checked(owner, x, depth=depth + 1) for x in given]
        return tuple(inner) if isinstance(given, tuple) else inner
    if isinstance(given, Mapping):
        if not all(isinstance(name, str) for name in given):
            raise invalid(owner, f"got {cut(given)}, wanted names that are strings")
        return {plain_text(name): _checked(owner, x, depth=depth + 1) for name, x in given.items()}
    raise invalid(owner, f"got {cut(given)}, {_remedy(given)}")


def _remedy(given: Any) -> str:
    """Return what to do instead of a value that no log can hold."""
    if (remedy := plainer(given)) is not None:
        return remedy
    if isinstance(given, (set, frozenset)):
        return "which has no order, wanted a list"
    if callable(given):
        return (
            f"a {'class' if isinstance(given, type) else 'function'}: give it a name as text and "
            "look it up in the training code, which may also compute what depends on other values"
        )
    return "wanted strings, numbers, booleans, None, or lists and dicts of them"


def _kind(value: Any) -> type:
    """Return the type, with all numbers taken as one."""
    if is_number(value):
        return float
    return str if isinstance(value, str) else type(value)

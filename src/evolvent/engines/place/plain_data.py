"""What counts as plain data: values that can be taken over by another process as they are."""

from __future__ import annotations

import abc
import argparse
import datetime
import functools
import re
import sys
import types
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Collection, Mapping
from dataclasses import is_dataclass
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any

import numpy as np

from evolvent.engines.place.script import is_installed

_MAIN = "__main__"
_MOST_ITEMS = 10_000
_SCALARS = (bool, int, float, complex, str, bytes, range, slice)
_MAPPINGS = (dict, OrderedDict, defaultdict, Counter)
_SEQUENCES = (list, tuple, set, frozenset, deque)
_NAMESPACES = (argparse.Namespace, types.SimpleNamespace)
_ATOMS = (
    Enum, PurePath, np.generic, np.dtype, Decimal, Fraction, re.Pattern, uuid.UUID,
    datetime.date, datetime.time, datetime.timedelta, datetime.timezone,
)  # fmt: skip
_ATOMS_OF_TORCH = ("device", "dtype", "Size")
CODE = (type, types.FunctionType, types.BuiltinFunctionType)


def data_in(
    scope: Mapping[str, Any], known: Collection[str], makers: Collection[str] | None = None
) -> list[str]:
    """Return the names of data in a scope, but for functions and classes themselves.

    Args:
        scope: variables, by name.
        known: names of `__main__` that the other process has by itself.
        makers: as with `is_data`.
    """
    named = ((name, value) for name, value in scope.items() if not name.startswith("__"))
    return [n for n, x in named if not isinstance(x, CODE) and is_data(x, known, makers)]


def attributes_of(owner: Any, module: str, known: Collection[str]) -> dict[str, Any]:
    """Return the data among the attributes of a class or function which a module defines."""
    if not isinstance(owner, (type, types.FunctionType)) or owner.__module__ != module:
        return {}
    # Members of an enumeration, fields with slots and the like are the business of their class.
    plain = isinstance(owner, types.FunctionType) or type(owner) in (type, abc.ABCMeta)
    return {name: vars(owner)[name] for name in data_in(vars(owner), known)} if plain else {}


def is_data(value: Any, known: Collection[str] = (), makers: Collection[str] | None = None) -> bool:
    """Whether a value is made of numbers, text, arrays and containers of them, and is not large.

    Objects of the user's own classes and of dataclasses are such containers, if they have nothing
    to say about how they are pickled; functions and classes count where the other process has them,
    too.

    Args:
        value: to be looked at.
        known: names of `__main__` that the other process has by itself.
        makers: names of the functions of `__main__` that run: what they have made is in no other
            process, and may be sent whole. None: nothing is.
    """
    left, n_seen = [value], 0
    while left and n_seen <= _MOST_ITEMS:
        one, n_seen = left.pop(), n_seen + 1
        if _is_atom(one, known, makers):
            continue
        inner = parts_of(one)
        if inner is None:
            return False
        left += inner
    return not left  # else it is too large, or contains itself


def _is_atom(value: Any, known: Collection[str], makers: Collection[str] | None) -> bool:
    if isinstance(value, CODE):
        return is_found(value, known) or (makers is not None and is_made(value, makers))
    if isinstance(value, np.ndarray):
        return not value.dtype.hasobject and value.size <= _MOST_ITEMS
    kind = type(value)
    simple = value is None or kind in _SCALARS or isinstance(value, _ATOMS)
    return simple or (kind.__module__ == "torch" and kind.__name__ in _ATOMS_OF_TORCH)


def is_found(code: Any, known: Collection[str]) -> bool:
    """Whether another process finds a function or class under its name."""
    module, name = code.__module__, code.__qualname__
    if module == _MAIN:
        return name.split(".")[0] in known and "<" not in name  # a lambda, or within a function
    found: Any = sys.modules.get(module or "builtins")
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is code


def is_made(code: Any, makers: Collection[str]) -> bool:
    """Whether a function of the script is one that a running function has made, or a lambda."""
    if not isinstance(code, types.FunctionType) or code.__module__ != _MAIN:
        return False
    maker, _, inner = code.__qualname__.partition(".<locals>")
    return not inner or maker.split(".")[0] in makers


def parts_of(value: Any) -> list[Any] | None:
    """Return what a container consists of; None if it is none."""
    kind = type(value)
    if kind in _SEQUENCES:
        return list(value)
    if kind in _MAPPINGS:
        return [getattr(value, "default_factory", None), *value, *value.values()]
    if kind is functools.partial:
        return [value.func, value.args, value.keywords]
    simple = holds_attributes(value) and not _pickles_itself(kind)
    return [*vars(value).values()] if simple else None


def holds_attributes(value: Any) -> bool:
    """Whether a value is an object that consists of its attributes."""
    kind = type(value)
    if not hasattr(value, "__dict__") or isinstance(value, (*CODE, types.ModuleType)):
        return False
    return kind in _NAMESPACES or is_dataclass(value) or is_users_class(kind)


def is_users_class(kind: type) -> bool:
    """Whether a class is of the script, or of a module of the user's own."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return kind.__module__ == _MAIN or (file is not None and not is_installed(file))


def is_container(value: Any) -> bool:
    """Whether a value is one that can be changed and stays the same object."""
    kind = type(value)
    return kind in _MAPPINGS or kind in (list, set, deque) or holds_attributes(value)


def _pickles_itself(kind: type) -> bool:
    return any(
        getattr(kind, name, None) is not getattr(object, name, None)
        for name in ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
    )


def updated(mine: Any, value: Any) -> Any:
    """Return `value`, in the object that others may refer to already, if there is one."""
    if mine is value or type(mine) is not type(value):
        return value
    if isinstance(mine, defaultdict):
        mine.default_factory = value.default_factory
    if isinstance(mine, (dict, set)):
        mine.clear()
        mine.update(value)
    elif isinstance(mine, (list, deque)):
        mine.clear()
        mine.extend(value)
    elif holds_attributes(mine):
        vars(mine).clear()
        vars(mine).update(vars(value))
    else:
        return value
    return mine


def set_attributes(owner: Any, attributes: Mapping[str, Any]) -> None:
    """Give a class or function the attributes, in the objects that it has already."""
    for name, value in attributes.items():
        setattr(owner, name, updated(getattr(owner, name, None), value))

"""What counts as plain data: values that can be taken over by another process as they are."""

from __future__ import annotations

import abc
import argparse
import copyreg
import datetime
import functools
import re
import sys
import types
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np

from evolvent.engines.place.script import is_installed

_MAIN = "__main__"
_MOST_PARTS, _MOST_BYTES = 20_000, 10_000_000
_SCALARS = (types.NoneType, bool, int, float, complex, str, bytes, range, slice)
_MAPPINGS = (dict, OrderedDict, defaultdict, Counter)
_SEQUENCES = (list, tuple, set, frozenset, deque)
_NAMESPACES = (argparse.Namespace, types.SimpleNamespace)
_ATOMS = (
    Enum, PurePath, np.generic, np.dtype, Decimal, Fraction, re.Pattern, uuid.UUID,
    datetime.date, datetime.time, datetime.timedelta, datetime.timezone,
)  # fmt: skip
_ATOMS_OF_TORCH = ("device", "dtype", "Size")
_IMMUTABLE = (int, float, complex, str, bytes, tuple, frozenset)
# Their classes say how they are pickled, and it is as if they did not.
_PICKLE_PLAINLY = ("dataclasses", "attr._make", "pydantic.main")
CODE = (type, types.FunctionType, types.BuiltinFunctionType)


class Content(NamedTuple):
    """What is in a container.

    Attributes:
        items: of a dict, or of a sequence or a set.
        attributes: of an object.
    """

    items: dict[Any, Any] | list[Any] | None
    attributes: dict[str, Any]


def data_in(
    scope: Mapping[str, Any], known: Collection[str], makers: Collection[str] | None = None
) -> list[str]:
    """Return the names of data in a scope, but for functions and classes themselves.

    Args:
        scope: variables, by name.
        known: names of `__main__` that the other process has by itself.
        makers: as with `is_data`.
    """
    # A list: a thread may add to the scope meanwhile.
    named = [(name, value) for name, value in list(scope.items()) if not name.startswith("__")]
    return [n for n, x in named if not issubclass(type(x), CODE) and is_data(x, known, makers)]


def attributes_of(owner: Any, module: str, known: Collection[str]) -> dict[str, Any]:
    """Return the data among the attributes of a class or function which a module defines."""
    kind = type(owner)
    if not issubclass(kind, (type, types.FunctionType)) or owner.__module__ != module:
        return {}
    # Members of an enumeration, fields with slots and the like are the business of their class.
    plain = kind in (types.FunctionType, type, abc.ABCMeta) or is_users_class(kind)
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
    try:
        return _is_data(value, known, makers)
    except Exception:  # noqa: BLE001 - objects of the user's may raise whatever they are asked
        return False


def _is_data(value: Any, known: Collection[str], makers: Collection[str] | None) -> bool:
    left, n_bytes = [value], 0
    seen: dict[int, Any] = {}  # kept, or another object could get the number; one may hold itself
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        n_bytes += _n_bytes(one)
        if n_bytes > _MOST_BYTES or len(seen) > _MOST_PARTS:
            return False
        if _is_atom(one, known, makers):
            continue
        inner = parts_of(one)
        if inner is None:
            return False
        if set(map(type, inner)).issubset(_SCALARS):  # as in large tables: need no walk
            n_bytes += sum(len(x) for x in inner if type(x) in (str, bytes))
        else:
            left += inner
    return n_bytes <= _MOST_BYTES


def _n_bytes(value: Any) -> int:
    kind = type(value)
    if kind is np.ndarray or _is_tensor(kind):
        return int(value.nbytes)
    bases = (str, bytes, dict, *_SEQUENCES)
    base = next((one for one in bases if issubclass(kind, one)), None)
    if base is None:
        return 0
    length = base.__len__(value)
    return length if base in (str, bytes) else 8 * length


def _is_atom(value: Any, known: Collection[str], makers: Collection[str] | None) -> bool:
    kind = type(value)
    if issubclass(kind, CODE):
        return is_found(value, known) or (makers is not None and is_made(value, makers))
    if kind is np.ndarray:
        return not value.dtype.hasobject
    if _is_tensor(kind):
        return value.device.type == "cpu" and not value.requires_grad and not value.is_sparse
    if kind in _SCALARS or issubclass(kind, _ATOMS):
        return True
    return kind.__module__ == "torch" and kind.__name__ in _ATOMS_OF_TORCH


def _is_tensor(kind: type) -> bool:
    return kind.__module__ == "torch" and kind.__name__ == "Tensor"


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
    if kind is functools.partial:
        return [value.func, value.args, value.keywords]
    if kind is types.MethodType:
        return [value.__self__]
    if kind not in (*_SEQUENCES, *_MAPPINGS):
        named_tuple = issubclass(kind, tuple) and hasattr(kind, "_fields")
        if _pickles_itself(kind) or not (named_tuple or holds_attributes(value)):
            return None
    items, attributes = content_of(value)
    inner = [*items, *items.values()] if isinstance(items, dict) else items or []
    return [*inner, *attributes.values()]


def content_of(value: Any) -> Content:
    """Return what is in a container, at the moment; of its own methods none is called."""
    kind = type(value)
    items: dict[Any, Any] | list[Any] | None = None
    if issubclass(kind, dict):
        items = dict(dict.items(value))
    else:
        base = next((one for one in _SEQUENCES if issubclass(kind, one)), None)
        if base is not None:
            items = list(base.__iter__(value))
    attributes = dict(object.__getattribute__(value, "__dict__")) if kind.__dictoffset__ else {}
    for name in _slots(kind):
        with suppress(AttributeError):  # has none yet
            attributes[name] = object.__getattribute__(value, name)
    if issubclass(kind, defaultdict):
        attributes["default_factory"] = value.default_factory
    return Content(items, attributes)


def make_empty(kind: type) -> Any:
    """Return a container of a type, with nothing in it."""
    new: Any = kind.__new__
    with suppress(TypeError):  # it wants arguments
        return new(kind)
    bases = (OrderedDict, defaultdict, Counter, dict, list, set, deque, object)
    new = next(base for base in bases if issubclass(kind, base)).__new__
    return new(kind)


def is_plain_object(value: Any) -> bool:
    """Whether a value can be made anew of what is in it, and nobody else says how."""
    kind = type(value)
    return (
        is_users_class(kind)
        and is_container(value)
        and not _pickles_itself(kind)
        and not hasattr(kind, "__getnewargs__")
        and not hasattr(kind, "__getnewargs_ex__")
    )


def fill(mine: Any, content: Content) -> None:
    """Let a container have this content; of its own methods none is called."""
    kind = type(mine)
    for base in (OrderedDict, dict, list, set, deque):
        if issubclass(kind, base):
            methods: Any = base
            methods.clear(mine)
            (methods.extend if base in (list, deque) else methods.update)(mine, content.items)
            break
    attributes = dict(content.attributes)
    for name in _slots(kind):
        if name in attributes:
            object.__setattr__(mine, name, attributes.pop(name))
        else:
            with suppress(AttributeError):  # has none
                object.__delattr__(mine, name)
    if issubclass(kind, defaultdict):
        mine.default_factory = attributes.pop("default_factory")
    if kind.__dictoffset__:
        own = object.__getattribute__(mine, "__dict__")
        own.clear()
        own.update(attributes)


def _slots(kind: type) -> list[str]:
    names: list[str] = copyreg._slotnames(kind)  # type: ignore[attr-defined]  # as pickle does
    return names


def holds_attributes(value: Any) -> bool:
    """Whether a value is an object that consists of its attributes."""
    kind = type(value)
    if issubclass(kind, (*CODE, types.ModuleType)):
        return False
    if not (kind.__dictoffset__ or _slots(kind)):
        return False
    return kind in _NAMESPACES or is_dataclass(kind) or is_users_class(kind)


def is_users_class(kind: type) -> bool:
    """Whether a class is of the script, or of a module of the user's own."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return kind.__module__ == _MAIN or (file is not None and not is_installed(file))


def is_container(value: Any) -> bool:
    """Whether a value is one that can be changed and stays the same object."""
    kind = type(value)
    frozen = getattr(getattr(kind, "__dataclass_params__", None), "frozen", False)
    if frozen or issubclass(kind, (*_IMMUTABLE, *_ATOMS)):
        return False
    return kind in _MAPPINGS or kind in (list, set, deque) or holds_attributes(value)


def _pickles_itself(kind: type) -> bool:
    if kind in _NAMESPACES:
        return False
    methods = (
        (getattr(kind, name, None), getattr(object, name, None))
        for name in ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
    )
    return any(
        method is not plain and getattr(method, "__module__", None) not in _PICKLE_PLAINLY
        for method, plain in methods
    )


def updated(mine: Any, value: Any) -> Any:
    """Return `value`, in the object that others may refer to already, if there is one."""
    if mine is value or type(mine) is not type(value) or not is_container(value):
        return value
    fill(mine, content_of(value))
    return mine


def set_attributes(owner: Any, attributes: Mapping[str, Any]) -> None:
    """Give a class or function the attributes, in the objects that it has already."""
    for name, value in attributes.items():
        # Of its own: what it inherits is another's.
        setattr(owner, name, updated(vars(owner).get(name), value))

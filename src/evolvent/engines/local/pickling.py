"""Pickles user code for worker processes: by reference what they have, whole what they lack."""

from __future__ import annotations

import abc
import argparse
import functools
import io
import logging
import pickle
import sys
import types
import weakref
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from collections.abc import Collection, Mapping
from dataclasses import is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any, ClassVar

import cloudpickle
import numpy as np

from evolvent.engines.place.script import globals_of
from evolvent.errors import ConfigError

_MAIN = "__main__"
_LARGE_BYTES = 100_000_000
_MOST_ITEMS = 10_000
_SCALARS = (bool, int, float, complex, str, bytes)
_MAPPINGS = (dict, OrderedDict, defaultdict, Counter)
_SEQUENCES = (list, tuple, set, frozenset, deque)
_NAMESPACES = (argparse.Namespace, types.SimpleNamespace)
_ATOMS = (Enum, PurePath, np.generic)
_CODE = (type, types.FunctionType, types.BuiltinFunctionType)
_Cached = functools._lru_cache_wrapper


class _Empty:
    """Stands for the content of a cell that has none yet; pickled by its name."""


_logger = logging.getLogger("evolvent")


def pack_code(
    trainable: Any,
    algorithm: Any,
    *,
    known: Collection[str] = (),
    rebound: Collection[str] = (),
) -> bytes:
    """Pickle user code, and what it uses of the names of `__main__`.

    Args:
        trainable: a function, a class or an import path.
        algorithm: may hold functions of the user.
        known: the names of `__main__` that the worker has by itself.
        rebound: those that it has with another value, which is sent where it can be.

    Raises:
        ConfigError: it holds something that cannot be pickled; says which global it is.
    """
    main = vars(sys.modules[_MAIN])
    with io.BytesIO() as file:
        pickler = _Pickler(file, main, known)
        _dump(pickler, (trainable, algorithm), "trainable", "inside the function")
        sizes = {"the trainable itself": file.tell()}
        # Values may have been changed since the top level has set them, and as cheaply as this we
        # cannot know which of them are used: by a function in a registry, for instance.
        pickler.wanted += [name for name in _data_in(main, known) if name in known]
        for name in pickler.wanted:  # grows meanwhile: what is sent may use others
            ours = name in rebound or name in known
            if ours and not _can_be_sent(main[name], main, known):
                _logger.warning("workers begin with another value of the global %r", name)
                continue
            start = file.tell()
            what = f"trainable: its global {name!r}"
            _dump(pickler, (name, main[name]), what, "inside the function")
            sizes[f"the global {name!r}"] = file.tell() - start
        for name in known:
            if attributes := _attributes(main.get(name), known):
                pickler.dump((name, _Attributes(attributes)))
        pickler.dump(None)
        for what, size in sizes.items():
            if size > _LARGE_BYTES:
                _logger.warning(
                    "%s is sent to every worker with %d MB: load it in the training code, once "
                    "for each worker", what, size // 1_000_000,
                )  # fmt: skip
        return file.getvalue()


def unpack_code(packed: bytes) -> tuple[Any, Any]:
    """Return what `pack_code` was given, and put what came with it into `__main__`."""
    unpickler = pickle.Unpickler(io.BytesIO(packed))  # from our own driver
    code: tuple[Any, Any] = unpickler.load()
    main = vars(sys.modules[_MAIN])
    while (entry := unpickler.load()) is not None:
        name, value = entry
        if isinstance(value, _Attributes):
            owner = main[name]
            for attribute, sent in value.items():
                setattr(owner, attribute, _updated(getattr(owner, attribute, None), sent))
        else:
            main[name] = _updated(main.get(name), value)
    return code


class _Attributes(dict[str, Any]):
    """Attributes of a class or function that the worker has by itself, as they are now."""


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is not typed
    """Sends functions of `__main__` such that they run in the worker's `__main__`.

    Attributes:
        wanted: names of `__main__` to be sent too, in the order in which they were met.
    """

    dispatch_table: ClassVar[ChainMap[type, Any]] = ChainMap(
        {
            # It has a lock before Python 3.12.
            functools.cached_property: lambda p: (_make_cached_property, (p.func, p.attrname)),
            weakref.WeakKeyDictionary: lambda d: (weakref.WeakKeyDictionary, (dict(d),)),
        },
        cloudpickle.Pickler.dispatch_table,
    )

    def __init__(self, file: io.BytesIO, main: dict[str, Any], known: Collection[str]) -> None:
        super().__init__(file)
        self._main, self._known = main, known
        self._followed: set[int] = set()
        self.wanted: list[str] = []

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (type, types.FunctionType, _Cached)) and obj.__module__ == _MAIN:
            name = obj.__qualname__.partition(".")[0]
            if _find(self._main, obj.__qualname__) is obj:
                if name in self._known:
                    self._follow(obj)
                    return obj.__qualname__
                self._want(name)  # what training pickles of it is looked up there
            if isinstance(obj, _Cached):
                return _make_cached, (obj.__wrapped__, obj.cache_parameters())
            if isinstance(obj, types.FunctionType) and obj.__globals__ is self._main:
                self._need_globals(obj.__code__)
                return _reduce_function(obj)
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and isinstance(reduced, tuple) and "." in obj.__qualname__:
            return _with_qualname(obj, *reduced)  # or what pickles it in a worker looks elsewhere
        return reduced

    def _want(self, name: str) -> None:
        if name not in self.wanted:
            self.wanted.append(name)

    def _need_globals(self, code: types.CodeType) -> None:
        for name in globals_of(code):
            if name not in self._main:
                continue
            if name not in self._known:
                self._want(name)
            else:
                self._follow(self._main[name])

    def _follow(self, obj: Any) -> None:
        """Look for what is needed by a thing that the worker has by itself."""
        contains = isinstance(obj, (dict, list, tuple, set)) and len(obj) <= _MOST_ITEMS
        ours = getattr(obj, "__module__", None) == _MAIN
        if id(obj) in self._followed or not (contains or ours):
            return
        self._followed.add(id(obj))
        inner: list[Any] = [getattr(obj, "__wrapped__", None)]
        if contains:
            inner += obj.values() if isinstance(obj, dict) else obj
        elif isinstance(obj, type):
            inner += [*obj.__bases__, *vars(obj).values()]
        elif isinstance(obj, types.FunctionType):
            inner += [c for c in map(_content, obj.__closure__ or ()) if callable(c)]
            if obj.__globals__ is self._main:
                self._need_globals(obj.__code__)
        elif isinstance(obj, property):
            inner += [obj.fget, obj.fset, obj.fdel]
        for part in inner:
            self._follow(getattr(part, "__func__", getattr(part, "func", part)))


def _dump(pickler: _Pickler, thing: Any, what: str, where: str) -> None:
    try:
        pickler.dump(thing)
    except Exception as e:
        raise ConfigError(
            f"{what}: cannot be sent to a worker process ({type(e).__name__}: {e}): "
            f"open files, locks and connections {where}, or use workers=0"
        ) from e


def _can_be_sent(value: Any, main: dict[str, Any], known: Collection[str]) -> bool:
    try:
        _Pickler(io.BytesIO(), main, known).dump(value)
    except Exception:  # noqa: BLE001 - whatever it raises, it cannot
        return False
    return True


def _with_qualname(kind: type, *reduced: Any) -> tuple[Any, ...]:
    """Return what makes a class whole again, with its place in another class or function."""
    make, arguments, state, *_, fill = reduced
    state = (fill, state, kind.__qualname__)
    return make, arguments, state, None, None, _fill_class


def _fill_class(kind: type, state: tuple[Any, Any, str]) -> None:
    fill, inner, kind.__qualname__ = state
    fill(kind, inner)


def _reduce_function(function: types.FunctionType) -> tuple[Any, ...]:
    code = function.__code__
    state = {
        "cells": [_content(cell) for cell in function.__closure__ or ()],
        "__qualname__": function.__qualname__,
        "__defaults__": function.__defaults__,
        "__kwdefaults__": function.__kwdefaults__,
        "__annotations__": function.__annotations__,
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__dict__": function.__dict__,
    }
    # The state comes after the function itself: it may lead back to it, as a recursion does.
    return _make_function, (code, function.__name__), state, None, None, _fill_function


def _make_function(code: types.CodeType, name: str) -> types.FunctionType:
    cells = tuple(types.CellType() for _ in code.co_freevars)
    return types.FunctionType(code, vars(sys.modules[_MAIN]), name, None, cells)


def _fill_function(function: types.FunctionType, state: dict[str, Any]) -> None:
    for cell, content in zip(function.__closure__ or (), state.pop("cells"), strict=True):
        if content is not _Empty:
            cell.cell_contents = content
    for name, value in state.items():
        setattr(function, name, value)


def _make_cached(function: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _make_cached_property(function: Any, name: str | None) -> Any:
    made: functools.cached_property[Any] = functools.cached_property(function)
    made.attrname = name
    return made


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return _Empty


def _find(scope: dict[str, Any], qualname: str) -> Any:
    first, *rest = qualname.split(".")
    found = scope.get(first)
    for name in rest:
        found = getattr(found, name, None)
    return found


def _data_in(scope: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """Return the names of data in a scope, but for functions and classes themselves."""
    named = ((name, value) for name, value in scope.items() if not name.startswith("__"))
    return [n for n, x in named if not isinstance(x, _CODE) and _is_data(x, known)]


def _attributes(owner: Any, known: Collection[str]) -> dict[str, Any]:
    """Return the data among the attributes of a class or function of `__main__`."""
    if not isinstance(owner, (type, types.FunctionType)) or owner.__module__ != _MAIN:
        return {}
    # Members of an enumeration, fields with slots and the like are the business of their class.
    plain = isinstance(owner, types.FunctionType) or type(owner) in (type, abc.ABCMeta)
    return {name: vars(owner)[name] for name in _data_in(vars(owner), known)} if plain else {}


def _is_data(value: Any, known: Collection[str]) -> bool:
    """Whether a value is made of numbers, text, arrays and containers of them, and is not large.

    Objects of the script's own classes and of dataclasses are such containers, if they have
    nothing to say about how they are pickled; functions and classes count where the worker has
    them, too.
    """
    left, n_seen = [value], 0
    while left and n_seen <= _MOST_ITEMS:
        one, n_seen = left.pop(), n_seen + 1
        if _is_atom(one, known):
            continue
        inner = _parts(one)
        if inner is None:
            return False
        left += inner
    return not left  # else it is too large, or contains itself


def _is_atom(value: Any, known: Collection[str]) -> bool:
    if isinstance(value, _CODE):
        shared = value.__module__ != _MAIN or value.__qualname__.split(".")[0] in known
        return shared and "<" not in value.__qualname__  # of a lambda, or within a function
    if isinstance(value, np.ndarray):
        return not value.dtype.hasobject and value.size <= _MOST_ITEMS
    return value is None or type(value) in _SCALARS or isinstance(value, _ATOMS)


def _parts(value: Any) -> list[Any] | None:
    """Return what a container consists of; None if it is none."""
    kind = type(value)
    if kind in _SEQUENCES:
        return list(value)
    if kind in _MAPPINGS:
        return [getattr(value, "default_factory", None), *value, *value.values()]
    simple = _holds_attributes(value) and not _pickles_itself(kind)
    return [*vars(value).values()] if simple else None


def _holds_attributes(value: Any) -> bool:
    kind = type(value)
    ours = kind in _NAMESPACES or kind.__module__ == _MAIN or is_dataclass(value)
    return ours and hasattr(value, "__dict__")


def _pickles_itself(kind: type) -> bool:
    return any(
        getattr(kind, name, None) is not getattr(object, name, None)
        for name in ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
    )


def _updated(mine: Any, value: Any) -> Any:
    """Return `value`, in the object that others may refer to already, if there is one."""
    if type(mine) is not type(value):
        return value
    if isinstance(mine, (dict, set)):
        mine.clear()
        mine.update(value)
    elif isinstance(mine, (list, deque)):
        mine.clear()
        mine.extend(value)
    elif _holds_attributes(mine):
        vars(mine).clear()
        vars(mine).update(vars(value))
    else:
        return value
    return mine

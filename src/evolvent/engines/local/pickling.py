"""Pickles user code for worker processes: by reference what they have, whole what they lack."""

from __future__ import annotations

import functools
import io
import logging
import pickle
import sys
import types
import weakref
from collections import ChainMap
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

import cloudpickle

from evolvent.engines.place.containers import (
    ReceivedContainers,
    SharedContainer,
    shared_containers,
)
from evolvent.engines.place.modules import (
    ModuleState,
    Outline,
    found_in,
    module_states,
    outline_of,
    outlines_of,
    warn_of_missing,
    with_inner_classes,
)
from evolvent.engines.place.on_import import when_imported
from evolvent.engines.place.plain_data import (
    Content,
    attributes_of,
    content_of,
    data_in,
    fill,
    is_data,
    is_plain_object,
    make_empty,
    set_attributes,
)
from evolvent.engines.place.script import globals_of, running_functions
from evolvent.engines.place.settings import apply_settings, settings_of_process
from evolvent.errors import ConfigError

_MAIN = "__main__"
_LARGE_BYTES = 100_000_000
_MOST_ITEMS = 10_000
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
    """Pickle user code, what it uses of the names of `__main__`, and the state of modules.

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
        makers = running_functions()
        pickler = _Pickler(file, main, known, shared_containers(main, known, makers))
        _dump(pickler, (trainable, algorithm), "trainable", "inside the function")
        sizes = {"the trainable itself": file.tell()}
        states = module_states(known, makers)
        modules = {name: _packed_module(state, pickler) for name, state in states.items()}
        # Values may have been changed since the top level has set them, and as cheaply as this we
        # cannot know which of them are used: by a function in a registry, for instance.
        pickler.wanted += [name for name in data_in(main, known, makers) if name in known]
        outlines = _dump_globals(pickler, rebound, sizes)
        for name in known:
            for path, owner in with_inner_classes(name, main.get(name)):
                attributes = attributes_of(owner, _MAIN, known)
                if attributes and pickler.can_send(attributes):
                    pickler.dump((path, _Attributes(attributes), None))
        pickler.dump(None)
        settings = {
            name: pickler.dumps(values) for name, values in settings_of_process(known).items()
        }
        pickler.dump((settings, modules, outlines))
        for what, size in sizes.items():
            if size > _LARGE_BYTES:
                _logger.warning(
                    "%s is sent to every worker with %d MB: load it in the training code, once "
                    "for each worker", what, size // 1_000_000,
                )  # fmt: skip
        return file.getvalue()


def _dump_globals(
    pickler: _Pickler, rebound: Collection[str], sizes: dict[str, int]
) -> dict[str, Outline]:
    """Pickle the globals that are wanted, and note their sizes; return what others are like."""
    main, known, file = pickler.main, pickler.known, pickler.file
    left = {name: main[name] for name in known if name in main}
    for name in pickler.wanted:  # grows meanwhile: what is sent may use others
        value = main[name]
        if (name in rebound or name in known) and not pickler.can_send(value):
            if name in rebound or is_data(value, known):
                _logger.warning("workers begin with another value of the global %r", name)
                left.pop(name, None)
            continue
        left.pop(name, None)
        start = file.tell()
        what = f"trainable: its global {name!r}"
        _dump(pickler, (name, *pickler.with_content(value)), what, "inside the function")
        sizes[f"the global {name!r}"] = file.tell() - start
    return outlines_of(left)


def unpack_code(packed: bytes, *, warns: bool = True) -> tuple[Any, Any]:
    """Return what `pack_code` was given, and put what came with it in its place.

    The state of a module that is not imported yet is put there as soon as it is.

    Args:
        packed: what it returned.
        warns: name what modules have not here, and could not be sent.
    """
    containers = ReceivedContainers()
    unpickler = _Unpickler(packed, containers)
    code: tuple[Any, Any] = unpickler.load()
    main = vars(sys.modules[_MAIN])
    while (entry := unpickler.load()) is not None:
        name, *value = entry
        if type(value[0]) is _Attributes:
            set_attributes(found_in(sys.modules[_MAIN], name), value[0])
        else:
            main[name] = _received(*value)
    # What follows is not unpickled before its module is there: it may need, and import, that.
    settings, modules, outlines = unpickler.load()
    for name, values in settings.items():
        when_imported(name, partial(_apply_settings, packed=values))
    for name, state in modules.items():
        set_it = partial(_set_module, packed=state, containers=containers, warns=warns)
        when_imported(name, set_it)
    if warns:
        warn_of_missing(sys.modules[_MAIN], outlines)
    return code


def _packed_module(state: ModuleState, like: _Pickler) -> bytes:
    """Pickle the state of a module, but for what cannot be."""
    with suppress(Exception):  # one look for all, as a rule
        return _pack_state(state, like)
    sent = {name: value for name, value in state.values.items() if like.can_send(value)}
    missing = {n: outline_of(x) for n, x in state.values.items() if n not in sent}
    attributes = {n: a for n, a in state.attributes.items() if like.can_send(a)}
    return _pack_state(ModuleState(sent, attributes, {**state.outlines, **missing}), like)


def _pack_state(state: ModuleState, like: _Pickler) -> bytes:
    values = {name: like.with_content(value) for name, value in state.values.items()}
    return like.dumps((values, state.attributes, state.outlines))


def _apply_settings(module: types.ModuleType, packed: bytes) -> None:
    apply_settings(module, pickle.loads(packed))


def _set_module(
    module: types.ModuleType, packed: bytes, containers: ReceivedContainers, *, warns: bool
) -> None:
    try:
        values, attributes, outlines = _Unpickler(packed, containers).load()
        for name, value in values.items():
            setattr(module, name, _received(*value))
        for path, sent in attributes.items():
            if (owner := found_in(module, path)) is not None:
                set_attributes(owner, sent)
    except Exception as e:  # noqa: BLE001 - whatever the user's classes raise: training can go on
        if warns:
            _logger.warning(
                "workers go without what the script has set in module %s: %s: %s",
                module.__name__, type(e).__name__, e,
            )  # fmt: skip
        return
    if warns:
        warn_of_missing(module, outlines)


def _received(value: Any, content: Content | None) -> Any:
    if content is not None:
        fill(value, content)
    return value


class _Attributes(dict[str, Any]):
    """Attributes of a class or function that the worker has by itself, as they are now."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, packed: bytes, containers: ReceivedContainers) -> None:
        super().__init__(io.BytesIO(packed))  # from our own driver
        self._containers = containers

    def persistent_load(self, pid: Any) -> Any:
        return self._containers.find(pid)


class _Nowhere(io.BytesIO):
    """What is written to it is not kept."""

    def write(self, data: Any) -> int:
        return memoryview(data).nbytes


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is not typed
    """Sends functions of `__main__` such that they run in the worker's `__main__`.

    Attributes:
        file: what it writes to.
        main: the names of `__main__`.
        known: those that the worker has by itself.
        wanted: those to be sent too, in the order in which they were met.
    """

    dispatch_table: ClassVar[ChainMap[type, Any]] = ChainMap(
        {
            # It has a lock before Python 3.12.
            functools.cached_property: lambda p: (_make_cached_property, (p.func, p.attrname)),
            weakref.WeakKeyDictionary: lambda d: (weakref.WeakKeyDictionary, (dict(d),)),
        },
        cloudpickle.Pickler.dispatch_table,
    )

    def __init__(
        self,
        file: io.BytesIO,
        main: dict[str, Any],
        known: Collection[str],
        shared: Mapping[int, SharedContainer],
    ) -> None:
        super().__init__(file)
        self.file, self.main, self.known, self._shared = file, main, known, shared
        self._followed: set[int] = set()
        self.wanted: list[str] = []

    def dumps(self, value: Any) -> bytes:
        """Pickle a value by itself, with the names of `__main__` that it uses wanted here."""
        with io.BytesIO() as file:
            other = _Pickler(file, self.main, self.known, self._shared)
            other.wanted = self.wanted
            other.dump(value)
            return file.getvalue()

    def can_send(self, value: Any) -> bool:
        """Whether a value can be pickled, with all that it uses."""
        trial = _Pickler(_Nowhere(), self.main, self.known, self._shared)
        try:
            trial.dump(self.with_content(value))
        except Exception:  # noqa: BLE001 - whatever it raises, it cannot
            return False
        return True

    def with_content(self, value: Any) -> tuple[Any, Content | None]:
        """Return a value and, where it is pickled as the name that it has, what is in it."""
        return value, content_of(value) if id(value) in self._shared else None

    def persistent_id(self, obj: Any) -> Any:
        shared = self._shared.get(id(obj))
        if shared is None:
            return None
        for module, name in shared.homes:
            if module == _MAIN:
                self._want(name)  # its content comes with it
        return shared

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (type, types.FunctionType, _Cached)) and obj.__module__ == _MAIN:
            name = obj.__qualname__.partition(".")[0]
            if _find(self.main, obj.__qualname__) is obj:
                if name in self.known:
                    self._follow(obj)
                    return obj.__qualname__
                self._want(name)  # what training pickles of it is looked up there
            if isinstance(obj, _Cached):
                return _make_cached, (obj.__wrapped__, obj.cache_parameters())
            if isinstance(obj, types.FunctionType) and obj.__globals__ is self.main:
                self._need_globals(obj.__code__)
                return _reduce_function(obj)
        if is_plain_object(obj):  # not by its own methods: they may refuse, or do more
            return make_empty, (type(obj),), content_of(obj), None, None, fill
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and isinstance(reduced, tuple) and "." in obj.__qualname__:
            return _with_qualname(obj, *reduced)  # or what pickles it in a worker looks elsewhere
        return reduced

    def _want(self, name: str) -> None:
        if name not in self.wanted:
            self.wanted.append(name)

    def _need_globals(self, code: types.CodeType) -> None:
        for name in globals_of(code):
            if name not in self.main:
                continue
            if name not in self.known:
                self._want(name)
            else:
                self._follow(self.main[name])

    def _follow(self, obj: Any) -> None:
        """Look for what is needed by a thing that the worker has by itself."""
        # By its type: an object of the user's may raise whatever it is asked for.
        kind = type(obj)
        contains = issubclass(kind, (dict, list, tuple, set)) and len(obj) <= _MOST_ITEMS
        holds_code = issubclass(kind, (type, types.FunctionType, _Cached))
        ours = holds_code and obj.__module__ == _MAIN
        if id(obj) in self._followed or not (contains or ours or kind is property):
            return
        self._followed.add(id(obj))
        inner: list[Any] = []
        if contains:
            inner += obj.values() if issubclass(kind, dict) else obj
        elif kind is property:
            inner += [obj.fget, obj.fset, obj.fdel]
        elif issubclass(kind, type):
            inner += [*obj.__bases__, *vars(obj).values()]
        else:
            inner += [getattr(obj, "__wrapped__", None)]
            if issubclass(kind, types.FunctionType):
                inner += [c for c in map(_content, obj.__closure__ or ()) if callable(c)]
                if obj.__globals__ is self.main:
                    self._need_globals(obj.__code__)
        for part in inner:
            self._follow(_function_in(part))


def _function_in(part: Any) -> Any:
    if isinstance(part, (staticmethod, classmethod, types.MethodType)):
        return part.__func__
    return part.func if isinstance(part, (partial, functools.cached_property)) else part


def _dump(pickler: _Pickler, thing: Any, what: str, where: str) -> None:
    try:
        pickler.dump(thing)
    except Exception as e:
        raise ConfigError(
            f"{what}: cannot be sent to a worker process ({type(e).__name__}: {e}): "
            f"open files, locks and connections {where}, or use workers=0"
        ) from e


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

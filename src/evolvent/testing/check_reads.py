"""Which hyperparameters training code reads, and which ones its code has a name for."""

from __future__ import annotations

import copy
import dis
import functools
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from evolvent.engines.place.script import globals_of, is_installed

_OURS = ("evolvent.core", "evolvent.testing.check_reads")
_NO_READER = "evolvent.engines.live"
_NONE = object()
_WRAPPERS = (staticmethod, classmethod, property, functools._lru_cache_wrapper)
_INNER: dict[type, str] = {functools.partial: "func", property: "fget"}


class RecordedReads(dict[str, Any]):
    """A dict that notes the dotted names read in it; who goes through it has read all of them."""

    def __init__(self, values: Mapping[str, Any], read: set[str], prefix: str = "") -> None:
        self._read, self._prefix = read, prefix
        super().__init__(
            (key, RecordedReads(x, read, f"{prefix}{key}.") if isinstance(x, dict) else x)
            for key, x in values.items()
        )

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._note(key)
        return super().get(key, default)

    def pop(self, key: str, default: Any = _NONE) -> Any:
        self._note(key)
        return super().pop(key) if default is _NONE else super().pop(key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        self._note(key)
        return super().setdefault(key, default)

    def __iter__(self) -> Iterator[str]:
        self._note_all()
        return super().__iter__()

    def keys(self) -> Any:
        self._note_all()
        return super().keys()

    def values(self) -> Any:
        self._note_all()
        return super().values()

    def items(self) -> Any:
        self._note_all()
        return super().items()

    def popitem(self) -> tuple[str, Any]:
        self._note_all()
        return super().popitem()

    def copy(self) -> dict[str, Any]:
        return dict(self.items())

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self.copy(),)

    def __deepcopy__(self, memo: Any) -> RecordedReads:
        values = {key: copy.deepcopy(x, memo) for key, x in super().items()}
        return RecordedReads(values, self._read, self._prefix)

    def _note(self, key: str) -> None:
        value = super().get(key)
        if not isinstance(value, RecordedReads):  # else it is what is read in that
            self._read.add(f"{self._prefix}{key}")

    def _note_all(self) -> None:
        if _reader() != _NO_READER:
            for key, value in super().items():
                value._note_all() if isinstance(value, RecordedReads) else self._note(key)


def _reader() -> str:
    """Return the module that reads; not one of those that read on behalf of others."""
    frame = sys._getframe(1)
    while (name := frame.f_globals.get("__name__", "")).startswith(_OURS) and frame.f_back:
        frame = frame.f_back
    return str(name)


def mentions(trainable: Any, name: str) -> bool:
    """Whether a trainable, or what it calls of the user's own code, has a name for something.

    As a text or an attribute: it may be read later than now. True as well if that cannot be seen.
    """
    functions = list(_functions(trainable))
    codes: dict[CodeType, None] = {}
    while functions:
        function = functions.pop()
        if function.__code__ in codes or is_installed(function.__code__.co_filename):
            continue
        codes[function.__code__] = None
        scope = function.__globals__
        for used in globals_of(function.__code__):
            functions += _functions(scope.get(used))
    return not codes or any(_has(code, name) for code in codes)


def _functions(thing: Any) -> list[FunctionType]:
    """Return the functions of a function, a class, or a module of the user's; without wrappers."""
    thing = _unwrapped(thing)
    if isinstance(thing, FunctionType):
        cells = [cell.cell_contents for cell in thing.__closure__ or () if _is_bound(cell)]
        return [thing, *(inner for inner in cells if isinstance(inner, FunctionType))]
    if isinstance(thing, ModuleType):
        if is_installed(getattr(thing, "__file__", None)):
            return []
        parts = [part for part in vars(thing).values() if not isinstance(part, ModuleType)]
        return [function for part in parts for function in _functions(part)]
    kinds = thing.__mro__ if isinstance(thing, type) else ()
    parts = [_unwrapped(part) for kind in kinds for part in vars(kind).values()]
    return [part for part in parts if isinstance(part, FunctionType)]


def _unwrapped(thing: Any) -> Any:
    while isinstance(thing, (functools.partial, FunctionType, *_WRAPPERS)):
        inner = getattr(thing, _INNER.get(type(thing), "__wrapped__"), None)
        if inner is None:
            break
        thing = inner
    return thing


def _is_bound(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - to see whether it has any
    except ValueError:
        return False
    return True


def _has(code: CodeType, name: str) -> bool:
    names = set(code.co_names)
    keywords = _keywords(code)
    for constant in code.co_consts:
        if constant in keywords:  # SGD(lr=…) says nothing of where the value comes from
            continue
        if isinstance(constant, CodeType):
            if _has(constant, name):
                return True
        elif isinstance(constant, (str, tuple)):
            names.update([constant] if isinstance(constant, str) else constant)
    return name in names


def _keywords(code: CodeType) -> list[Any]:
    """Return the constants that are names of the arguments of calls."""
    steps = list(dis.get_instructions(code))
    found = [code.co_consts[step.arg or 0] for step in steps if step.opname == "KW_NAMES"]
    # 3.13 loads them like any other constant.
    return found + [one.argval for one, two in pairwise(steps) if two.opname == "CALL_KW"]

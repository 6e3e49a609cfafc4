"""The state of the user's own modules, which `main()` may have set: carried, or named."""

from __future__ import annotations

import dis
import logging
import types
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from evolvent.engines.place.plain_data import (
    CODE,
    attributes_of,
    content_of,
    data_in,
    holds_attributes,
    is_data,
    is_found,
    is_made,
    is_users_class,
)
from evolvent.engines.place.sources import users_modules

_MAIN = "__main__"
_MOST_NAMED, _MOST_PARTS = 3, 1000
_MOST_READ = 100_000_000  # bytes: of what is larger, a change behind them does not show
_logger = logging.getLogger("evolvent")


class Outline(NamedTuple):
    """What shows whether another process has the same as a value that cannot be carried.

    Attributes:
        kind: its type; of a function or class, what that is called where it was made.
        print: what differs, as a rule, where a large value does: its size, a checksum.
        code: where in it functions and classes are.
    """

    kind: str
    print: Any
    code: frozenset[str]


@dataclass(frozen=True, slots=True)
class ModuleState:
    """What a module of the user's has, as it is now.

    Attributes:
        values: of its globals that are plain data, or refer to functions and classes.
        attributes: those of its functions and classes, by name.
        outlines: of the others, by which a worker sees whether it has them too; those of the
            attributes of classes, too, as `Net.forward`.
    """

    values: dict[str, Any]
    attributes: dict[str, dict[str, Any]]
    outlines: dict[str, Outline]


def module_states(known: Collection[str], makers: Collection[str]) -> dict[str, ModuleState]:
    """Return the state of the user's modules, by name.

    Args:
        known: the names of `__main__` that the worker has by itself.
        makers: as with `is_data`.
    """
    return {name: _state(module, known, makers) for name, module in users_modules().items()}


def _state(
    module: types.ModuleType, known: Collection[str], makers: Collection[str]
) -> ModuleState:
    scope = dict(vars(module))
    values = {name: scope[name] for name in data_in(scope, known, makers)}
    attributes: dict[str, dict[str, Any]] = {}
    outlines: dict[str, Outline] = {}
    for name, value in scope.items():
        if name in values or name.startswith("__") or issubclass(type(value), types.ModuleType):
            continue
        with suppress(Exception):  # objects of the user's may raise whatever they are asked
            if issubclass(type(value), CODE):
                if (value.__module__, value.__qualname__) == (module.__name__, name):
                    for path, owner in with_inner_classes(name, value):
                        attributes[path] = attributes_of(owner, module.__name__, known)
                        outlines |= _outlines_of_attributes(path, owner, attributes[path])
                elif is_found(value, known) or is_made(value, makers):
                    values[name] = value
                else:
                    outlines[name] = outline_of(value)
            elif not _is_remembered(module, name):
                outlines[name] = outline_of(value)
    return ModuleState(values, {path: of for path, of in attributes.items() if of}, outlines)


def with_inner_classes(path: str, owner: Any) -> Iterator[tuple[str, Any]]:
    """Yield a value and, of a class, the classes within it, each with its path."""
    yield path, owner
    for name, inner in list(vars(owner).items()) if issubclass(type(owner), type) else ():
        if issubclass(type(inner), type) and inner.__qualname__ == f"{path}.{name}":
            yield from with_inner_classes(inner.__qualname__, inner)


def _outlines_of_attributes(path: str, owner: Any, sent: Collection[str]) -> dict[str, Outline]:
    """Return outlines of what has been put into a class and is not sent."""
    if not isinstance(owner, type):
        return {}
    return {
        f"{path}.{name}": outline_of(value)
        for name, value in list(vars(owner).items())
        if name not in sent
        and not name.startswith("__")
        and (is_users_class(type(value)) or isinstance(value, (types.FunctionType, dict, list)))
        and getattr(value, "__qualname__", None) != f"{path}.{name}"
    }


def outlines_of(scope: Mapping[str, Any]) -> dict[str, Outline]:
    """Return the outlines of the values in a scope, but for modules, functions and classes."""
    kinds = (*CODE, types.ModuleType)
    return {
        name: outline_of(value)
        for name, value in scope.items()
        if not (name.startswith("__") or issubclass(type(value), kinds))
    }


def outline_of(value: Any) -> Outline:
    """Return what shows whether another process has a value like this."""
    kind = f"{value.__module__}.{value.__qualname__}" if issubclass(type(value), CODE) else None
    code: frozenset[str] = frozenset()
    with suppress(Exception):  # objects of the user's may raise whatever they are asked
        code = frozenset(name for name, _ in _code_in(value))
    return Outline(kind or type(value).__qualname__, _print_of(value), code)


def _print_of(value: Any) -> Any:
    kind = type(value)
    found: Any = None
    with suppress(Exception):  # whatever libraries raise
        if kind in (dict, list, tuple, set, frozenset, str):
            found = len(value)
        elif kind is ContextVar:
            found = value.get(None)
            found = found if is_data(found) else None
        elif kind in (bytes, bytearray):
            found = len(value), _checksum(memoryview(value))
        elif kind is np.ndarray:
            found = value.shape, str(value.dtype), _checksum(value.reshape(-1).view(np.uint8))
        elif (kind.__module__, kind.__name__) == ("torch", "Tensor"):
            found = _print_of(value.detach().numpy()) if value.device.type == "cpu" else value.shape
        else:
            found = tuple(value.shape) if hasattr(kind, "shape") else None  # a table of pandas
    return found


def _checksum(data: Any) -> int:
    return zlib.crc32(data[:_MOST_READ])


def found_in(module: types.ModuleType, path: str) -> Any:
    """Return what a module has under a path, as `Net.forward`; None if nothing."""
    found: Any = module
    for name in path.split("."):
        found = vars(found).get(name) if hasattr(found, "__dict__") else None
    return found


def warn_of_missing(module: types.ModuleType, outlines: dict[str, Outline]) -> None:
    """Name, in a worker, what a module of the user's has in the script only."""
    missing: list[str] = []
    for name, outline in outlines.items():
        mine = outline_of(found_in(module, name))
        lacking = sorted(outline.code - mine.code)
        if mine.kind == outline.kind and lacking:
            missing.append(f"{name}{lacking[0]}")
        elif mine[:2] != outline[:2]:
            missing.append(f"{name} ({outline.kind})")
    if missing:
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        _logger.warning(
            "workers have not what the script has set in %s: %s%s: set it at the top level "
            "of the script, or in the training code",
            "its globals" if module.__name__ == _MAIN else f"module {module.__name__}",
            ", ".join(missing[:_MOST_NAMED]), more,
        )  # fmt: skip


def _is_remembered(module: types.ModuleType, name: str) -> bool:
    """Whether a function of the module reads a global and sets it: it makes it where it is not."""
    functions = [f for f in vars(module).values() if isinstance(f, types.FunctionType)]
    for code in {f.__code__ for f in functions if name in f.__code__.co_names}:
        done = {i.opname for i in dis.get_instructions(code) if i.argval == name}
        if done >= {"LOAD_GLOBAL", "STORE_GLOBAL"}:
            return True
    return False


def _code_in(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the functions and classes in a container, each with where it is, as `['name']`."""
    left, n_seen = [("", value)], 0
    seen: set[int] = set()
    while left and n_seen < _MOST_PARTS:
        (path, one), n_seen = left.pop(), n_seen + 1
        if issubclass(type(one), CODE):
            yield path, one
        elif id(one) not in seen:
            seen.add(id(one))
            left += _named_parts(path, one)


def _named_parts(path: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"{path}[{key!r}]", part) for key, part in list(value.items())]
    if isinstance(value, (list, tuple)):
        return [(f"{path}[{i}]", part) for i, part in enumerate(value)]
    if holds_attributes(value):
        return [(f"{path}.{n}", part) for n, part in content_of(value).attributes.items()]
    return []

"""The state of the user's own modules, which `main()` may have set: carried, or named."""

from __future__ import annotations

import dis
import logging
import sys
import types
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from evolvent.engines.place.plain_data import (
    CODE,
    attributes_of,
    data_in,
    holds_attributes,
    is_found,
    is_made,
    is_users_class,
    parts_of,
)
from evolvent.engines.place.sources import users_modules

_MAIN = "__main__"
_MOST_NAMED, _MOST_PARTS = 3, 1000
_logger = logging.getLogger("evolvent")

Outline: TypeAlias = tuple[str, frozenset[str]]
"""The type of a value that cannot be carried, and the functions and classes that are in it."""


@dataclass(frozen=True, slots=True)
class ModuleState:
    """What a module of the user's has, as it is now.

    Attributes:
        values: of its globals that are plain data, or refer to functions and classes.
        attributes: those of its functions and classes, by name.
        outlines: of the others, by which a worker sees whether it has them too.
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
    scope = vars(module)
    values = {name: scope[name] for name in data_in(scope, known, makers)}
    attributes: dict[str, dict[str, Any]] = {}
    outlines: dict[str, Outline] = {}
    for name, value in list(scope.items()):
        if name in values or name.startswith("__") or isinstance(value, types.ModuleType):
            continue
        if isinstance(value, CODE):
            if (value.__module__, value.__qualname__) == (module.__name__, name):
                if found := attributes_of(value, module.__name__, known):
                    attributes[name] = found
            elif is_found(value, known) or is_made(value, makers):
                values[name] = value
        elif _may_matter(value) and not _is_remembered(module, name):
            outlines[name] = outline_of(value)
    return ModuleState(values, attributes, outlines)


def outline_of(value: Any) -> Outline:
    """Return what shows whether another process has a value like this."""
    return type(value).__qualname__, frozenset(name for name, _ in _code_in(value))


def warn_of_missing(module: types.ModuleType, outlines: dict[str, Outline]) -> None:
    """Name, in a worker, what a module of the user's has in the script only."""
    missing: list[str] = []
    for name, (kind, code) in outlines.items():
        mine = outline_of(getattr(module, name, None))
        if mine[0] != kind:
            missing.append(f"{name} ({kind})")
        elif lacking := sorted(code - mine[1]):
            missing.append(f"{name}{lacking[0]}")
    if missing:
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        _logger.warning(
            "workers have not what the script has set in module %s: %s%s: set it at the top level "
            "of the script, or in the training code",
            module.__name__, ", ".join(missing[:_MOST_NAMED]), more,
        )  # fmt: skip


def _may_matter(value: Any) -> bool:
    """Whether a value is the user's: not a lock, a logger, a stream and the like."""
    return is_users_class(type(value)) or parts_of(value) is not None or _is_of_library(value)


def _is_remembered(module: types.ModuleType, name: str) -> bool:
    """Whether a function of the module reads a global and sets it: it makes it where it is not."""
    functions = [f for f in vars(module).values() if isinstance(f, types.FunctionType)]
    for code in {f.__code__ for f in functions if name in f.__code__.co_names}:
        done = {i.opname for i in dis.get_instructions(code) if i.argval == name}
        if done >= {"LOAD_GLOBAL", "STORE_GLOBAL"}:
            return True
    return False


def _is_of_library(value: Any) -> bool:
    file = getattr(sys.modules.get(type(value).__module__), "__file__", None)
    return file is not None and "-packages" in file


def _code_in(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the functions and classes in a container, each with where it is, as `['name']`."""
    left, n_seen = [("", value)], 0
    seen: set[int] = set()
    while left and n_seen < _MOST_PARTS:
        (path, one), n_seen = left.pop(), n_seen + 1
        if isinstance(one, CODE):
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
        return [(f"{path}.{name}", part) for name, part in list(vars(value).items())]
    return []

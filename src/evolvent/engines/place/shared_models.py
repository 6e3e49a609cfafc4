"""Models in globals: those who train in one process would all train the same one."""

from __future__ import annotations

import functools
import logging
import sys
import types
from collections.abc import Iterator
from typing import Any

from evolvent.engines.place.script import globals_of, is_installed

_WEIGHTS = {"load_state_dict", "set_weights"}  # of PyTorch's modules and optimizers, of Keras
_ESTIMATOR = {"fit", "get_params"}  # of scikit-learn
_METHODS = _WEIGHTS | _ESTIMATOR
_MOST = 100  # so many parts of a container are looked at
_logger = logging.getLogger("evolvent")


def warn_of_shared_models(trainable: Any) -> None:
    """Name the globals with weights that training code uses: members would share them."""
    for name, kind in shared_models(trainable).items():
        _logger.warning(
            "the global %r (%s) is one for all members that train in one process: unless training "
            "leaves it as it is, build it in the training code, from job.checkpoint", name, kind,
        )  # fmt: skip


def shared_models(trainable: Any) -> dict[str, str]:
    """Return the globals with weights which the user's code uses, each with its type."""
    kinds = {name: _trained_kind(value) for name, value in used_globals(trainable).items()}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def used_globals(trainable: Any) -> dict[str, Any]:
    """Return the globals which the user's code uses, and the attributes of its classes.

    But for functions and classes: it is looked into those. An attribute has the name of its class
    before it.
    """
    found: dict[str, Any] = {}
    seen: set[int] = set()
    left = [trainable]
    while left:
        code = left.pop()
        found.update(_attributes(code))
        for function in _functions(code):
            if id(function) in seen or is_installed(function.__code__.co_filename):
                continue
            seen.add(id(function))
            for name in globals_of(function.__code__):
                if name not in function.__globals__:
                    continue
                value = function.__globals__[name]
                # By its type: an object may raise whatever it is asked for, its class too.
                if issubclass(type(value), (types.FunctionType, type)):
                    left.append(value)
                elif not issubclass(type(value), types.ModuleType):
                    found[name] = value
    return found


def _trained_kind(value: Any) -> str | None:
    """Return the type of what has weights: the value, or what is in it."""
    inner, container = [value], type(value)
    if issubclass(container, dict):
        inner += value.values()
    elif issubclass(container, (list, tuple)):
        inner += value
    elif container.__module__ == "__main__" and container.__dictoffset__:
        inner += object.__getattribute__(value, "__dict__").values()
    for one in inner[:_MOST]:
        kind = type(one)
        methods = {name for name in _METHODS if callable(getattr(kind, name, None))}
        if not issubclass(kind, type) and (methods & _WEIGHTS or methods >= _ESTIMATOR):
            return kind.__name__
    return None


def _functions(code: Any) -> Iterator[types.FunctionType]:
    """Yield the functions that a function, a class, a method or a partial consists of."""
    if isinstance(code, str):  # imported in the worker; said by whoever runs it there
        return
    while isinstance(code, functools.partial):
        code = code.func
    if not isinstance(code, type):
        parts = [code]
    else:
        parts = [part for kind in code.__mro__ if _is_users(kind) for part in vars(kind).values()]
    for part in parts:
        inner = getattr(part, "__wrapped__", getattr(part, "__func__", part))
        if isinstance(inner, types.FunctionType):
            yield inner


def _attributes(code: Any) -> Iterator[tuple[str, Any]]:
    """Yield what the user's classes hold beside methods, properties and other classes."""
    while isinstance(code, functools.partial):
        code = code.func
    for kind in code.__mro__ if isinstance(code, type) else ():
        for name, value in vars(kind).items() if _is_users(kind) else ():
            if not (name.startswith("__") or hasattr(type(value), "__get__")):
                yield f"{kind.__name__}.{name}", value


def _is_users(kind: type) -> bool:
    home = sys.modules.get(kind.__module__)
    return not is_installed(getattr(home, "__file__", None))

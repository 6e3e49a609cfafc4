"""Pickles user code so that it can be unpacked where its script or notebook has not been run."""

from __future__ import annotations

import functools
import io
import sys
from typing import Any

import cloudpickle


def pack(thing: Any) -> bytes:
    """Pickle by value what the script or notebook defines, by reference what can be imported."""
    with io.BytesIO() as file:
        _Pickler(file).dump(thing)
        return file.getvalue()


def import_path(thing: Any) -> str | None:
    """Return the `module:name` that other processes import a thing by; None if there is none."""
    if isinstance(thing, str):
        return thing
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", "")
    if module in (None, "__main__") or getattr(sys.modules.get(module), name, None) is not thing:
        return None
    return f"{module}:{name}"


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is not typed
    """Sends `functools.cache`d functions of a script by value too; cloudpickle does not."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, functools._lru_cache_wrapper) and obj.__module__ == "__main__":
            return _cached, (obj.__wrapped__, obj.cache_parameters())
        return super().reducer_override(obj)


def _cached(function: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)

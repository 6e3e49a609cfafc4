"""Pickles user code so that it can be unpacked where its script or notebook has not been run."""

from __future__ import annotations

import functools
import io
from typing import Any

import cloudpickle

from evolvent.errors import ConfigError


def pack_code(trainable: Any, algorithm: Any) -> bytes:
    """Pickle what user code there is.

    Raises:
        ConfigError: it holds something that cannot be pickled.
    """
    try:
        return pack((trainable, algorithm))
    except Exception as e:
        raise ConfigError(
            f"trainable: cannot be sent to a worker process ({type(e).__name__}: {e}): "
            "open files, locks and connections inside the function, or use workers=0"
        ) from e


def pack(thing: Any) -> bytes:
    """Pickle by value what the script or notebook defines, by reference what can be imported."""
    with io.BytesIO() as file:
        _Pickler(file).dump(thing)
        return file.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is not typed
    """Sends `functools.cache`d functions of a script by value too; cloudpickle does not."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, functools._lru_cache_wrapper) and obj.__module__ == "__main__":
            return _cached, (obj.__wrapped__, obj.cache_parameters())
        return super().reducer_override(obj)


def _cached(function: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)

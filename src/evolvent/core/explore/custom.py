"""Custom explore: a function of the user's own."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from evolvent.core.records import Hyperparameters, Value
from evolvent.core.rng import realised
from evolvent.core.space import Space
from evolvent.errors import ConfigError, OutOfSpace
from evolvent.validation import invalid


@dataclass(frozen=True, slots=True)
class CustomExplore:
    """Call `fn(hyperparameters, rng)` and take the hyperparameters it returns.

    The function gets a dict of its own, nested as the space is, and a NumPy generator. What it
    leaves out stays as it was; numbers beyond the bounds are clipped; anything else that does not
    fit the space is an error.

    With the study only the import path of the function is stored, and workers import it from
    there. A function of a script or notebook (of `__main__`) reaches the workers that this script
    starts, but no others: those need it in a module.

    Attributes:
        fn: a function, or its path such as `"package.module:function"`.
    """

    fn: Callable[[dict[str, Any], np.random.Generator], Mapping[str, Any]] | str

    def __post_init__(self) -> None:
        if isinstance(self.fn, str):
            if not all(self.fn.partition(":")):
                raise invalid(
                    "CustomExplore.fn", f"got {self.fn!r:.120}, wanted a path 'module:function'"
                )
        elif not callable(self.fn):
            raise invalid(
                "CustomExplore.fn", f"got {self.fn!r:.80}, wanted a function or its import path"
            )
        elif not (path := _path(self.fn) or "__main__:").startswith("__main__:"):
            object.__setattr__(self, "fn", path)

    def __call__(
        self, hyperparameters: Hyperparameters, space: Space, *, rng: np.random.Generator
    ) -> dict[str, Value]:
        mine = {name: hyperparameters[name] for name in space}
        function = self._function()
        try:
            returned = function(space.nest(mine), realised(rng))
        except Exception as e:
            raise ConfigError(f"{self!r} raised {type(e).__name__}: {e}") from e
        try:
            return {**mine, **space.clip(returned)}
        except OutOfSpace as e:
            raise OutOfSpace(f"{self!r} returned {returned!r:.200}: {e}") from e

    def validate(self, space: Space) -> None:
        """Import the function.

        Raises:
            ConfigError: there is none at that path.
        """
        self._function()

    def to_json(self) -> dict[str, Any]:
        """Return the strategy as JSON.

        Raises:
            ConfigError: the function has no import path.
        """
        path = self._name()
        if not isinstance(path, str):
            raise invalid(
                "CustomExplore.fn",
                f"{self.fn!r:.120} cannot be stored: define it with `def` at the "
                "top of a module or script, so that workers can have it",
            )
        return {"type": "CustomExplore", "fn": path}

    def __eq__(self, other: object) -> bool:
        """Return whether both are stored alike: as a function of a script or as its path."""
        return isinstance(other, CustomExplore) and self._name() == other._name()

    def __hash__(self) -> int:
        return hash(self._name())

    def _name(self) -> object:
        return self.fn if isinstance(self.fn, str) else _path(self.fn) or self.fn

    def _function(self) -> Callable[[dict[str, Any], np.random.Generator], Mapping[str, Any]]:
        return _resolve(self.fn) if isinstance(self.fn, str) else self.fn


def _path(fn: Callable[..., Any]) -> str | None:
    """Return the import path of a function; None when the path leads elsewhere."""
    path = f"{getattr(fn, '__module__', '')}:{getattr(fn, '__qualname__', '')}"
    try:
        return path if _resolve(path) is fn else None
    except ConfigError:
        return None


def _resolve(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    try:
        found: Any = reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError) as e:
        advice = ""
        if module == "__main__":
            advice = ": it was defined in a script; move it to a module that workers can import"
        raise invalid("CustomExplore.fn", f"cannot import {path!r} ({e}){advice}") from e
    if not callable(found):
        raise invalid("CustomExplore.fn", f"{path!r} is {found!r:.80}, wanted a function")
    return found  # type: ignore[no-any-return]  # what users write has no types we could know

"""Reads, while a round trains, which settings the optimizers at work have."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

Settings: TypeAlias = dict[str, tuple[str, str]]
"""By optimizer, group and setting: the values at its first step of a round, and at its last."""

_LIBRARIES = ("keras", "optax")
_DEEPEST = 3
_PARAMETERS = ("params", "param_names")


class OptimizerWatch:
    """Notes what PyTorch's optimizers have whenever they step, wherever training keeps them.

    Of Keras and Optax (`inject_hyperparams`) what the attributes of a live object hold at the end.
    """

    def __init__(self) -> None:
        self.settings: Settings = {}
        self._stepped: dict[int, tuple[int, Any]] = {}  # held, or an id could come again
        self._hook: Any = None

    def __enter__(self) -> OptimizerWatch:
        torch: Any = sys.modules.get("torch.optim.optimizer")
        if hasattr(torch, "register_optimizer_step_pre_hook"):
            self._hook = torch.register_optimizer_step_pre_hook(self._on_step)
        return self

    def __exit__(self, *_: object) -> None:
        if self._hook is not None:
            self._hook.remove()
        self._stepped.clear()

    def look_into(self, live: object) -> None:
        """Note what a live object holds of libraries that have no hook."""
        if any(library in sys.modules for library in _LIBRARIES):
            for i, found in enumerate(_optimizers(live)):
                self._note(f"{i}", found)

    def _on_step(self, optimizer: Any, *_: object) -> None:
        order, _ = self._stepped.setdefault(id(optimizer), (len(self._stepped), optimizer))
        for i, group in enumerate(optimizer.param_groups):
            values = {n: x for n, x in group.items() if n not in _PARAMETERS}
            self._note(f"{type(optimizer).__name__} {order} {i}", values)

    def _note(self, where: str, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            text, key = _text(value), f"{where} {name}"
            first, _ = self.settings.get(key, (text, text))
            self.settings[key] = first, text


def setting_of(key: str) -> str:
    """Return the name of a setting, such as `lr`."""
    return key.rpartition(" ")[2]


def _text(value: Any) -> str:
    with contextlib.suppress(Exception):  # a tensor, a variable of Keras
        return repr(np.asarray(value).tolist())
    return repr(value)


def _optimizers(thing: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    hyperparams = getattr(thing, "hyperparams", None)
    if isinstance(hyperparams, Mapping):
        yield hyperparams
    elif hasattr(thing, "learning_rate") and hasattr(thing, "apply_gradients"):
        numbers = {n: x for n, x in vars(thing).items() if isinstance(x, (int, float))}
        yield {**numbers, "learning_rate": thing.learning_rate}
    elif depth < _DEEPEST:
        inner: Any = thing if isinstance(thing, (list, tuple)) else ()
        if isinstance(thing, Mapping):
            inner = thing.values()
        elif depth == 0 or hasattr(thing, "optimizer"):
            inner = list(getattr(thing, "__dict__", {}).values())
        for part in inner:
            yield from _optimizers(part, depth + 1)

"""Reads, while a round trains, which settings the optimizers at work have."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from numbers import Real
from types import FrameType
from typing import Any, TypeAlias

import numpy as np

from evolvent.engines.place.script import is_installed

Settings: TypeAlias = dict[str, tuple[str, ...]]
"""By optimizer and setting: the values in a round, first to last, each as often as it changed."""

_LIBRARIES = ("keras", "optax")
_HOLDERS = ("optimizer", "opt_state")
_DEEPEST, _WIDEST = 3, 100
_MOST = 64  # changes of a setting in a round that are kept, and the last value
_WORDS = (str, bool, type(None))
_OF_GROUP = re.compile(r"(?P<optimizer>\S+ \d+) (?P<group>\d+) (?P<setting>\S+)")


class OptimizerWatch:
    """Notes what PyTorch's optimizers have whenever they step, wherever training keeps them.

    Keras and Optax (`inject_hyperparams`) have no hook: of theirs what can be reached at the end of
    a round, from a live object or from the variables of the user's functions.
    """

    def __init__(self) -> None:
        self.settings: Settings = {}
        self._stepped: dict[int, tuple[int, Any]] = {}  # held, or an id could come again
        self._hook: Any = None
        self._profiles = False

    def __enter__(self) -> OptimizerWatch:
        torch: Any = sys.modules.get("torch.optim.optimizer")
        if hasattr(torch, "register_optimizer_step_pre_hook"):
            self._hook = torch.register_optimizer_step_pre_hook(self._on_step)
        # Never imported here: what training has not imported, it does not use.
        self._profiles = sys.getprofile() is None and any(x in sys.modules for x in _LIBRARIES)
        if self._profiles:
            sys.setprofile(self._on_call)
        return self

    def __exit__(self, *_: object) -> None:
        if self._profiles:
            sys.setprofile(None)
        if self._hook is not None:
            self._hook.remove()
        self._stepped.clear()

    def look_into(self, scope: Mapping[str, Any]) -> None:
        """Note what variables or attributes hold, in place of what was found by a look before."""
        if found := _at_work(list(_optimizers(scope, ""))):
            for key in [key for key in self.settings if key.startswith(".")]:
                del self.settings[key]
            for where, values in found:
                self._note(where, values)

    def _on_call(self, frame: FrameType, event: str, _: object) -> None:
        # The last of the user's functions to return counts, such as the trainable itself: before,
        # a helper has built an optimizer that is yet to be loaded.
        if event == "return" and _is_users(frame.f_code.co_filename):
            with contextlib.suppress(Exception):  # training must not meet what goes wrong here
                self.look_into(frame.f_locals)

    def _on_step(self, optimizer: Any, *_: object) -> None:
        order, _ = self._stepped.setdefault(id(optimizer), (len(self._stepped), optimizer))
        for i, group in enumerate(optimizer.param_groups):
            # What schedulers keep beside the settings, such as initial_lr, is not in force.
            values = {n: x for n, x in group.items() if n in optimizer.defaults}
            self._note(f"{type(optimizer).__name__} {order} {i}", values)

    def _note(self, where: str, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            key = f"{where} {'lr' if name == 'learning_rate' else name}"
            before, text = self.settings.get(key, ()), _text(value)
            if text is not None and (not before or before[-1] != text):
                self.settings[key] = (*before[:_MOST], text)


def setting_of(key: str) -> str:
    """Return the name of a setting, such as `lr`."""
    return key.rpartition(" ")[2]


def group_of(key: str, settings: Settings) -> str:
    """Return ` in param_groups[1]` where an optimizer of PyTorch has other groups too, else ``."""
    match = _OF_GROUP.fullmatch(key)
    return f" in param_groups[{match['group']}]" if match and siblings(key, settings) else ""


def siblings(key: str, settings: Settings) -> list[str]:
    """Return the same setting of the other groups of an optimizer of PyTorch."""
    if (match := _OF_GROUP.fullmatch(key)) is None:
        return []
    others = ((other, _OF_GROUP.fullmatch(other)) for other in settings if other != key)
    same = match["optimizer"], match["setting"]
    return [other for other, m in others if m and (m["optimizer"], m["setting"]) == same]


_is_users = cache(lambda path: not is_installed(path))


def _text(value: Any) -> str | None:
    """Return a number, a word, or a tuple or array of them as text; None of anything else."""
    try:
        plain = value if isinstance(value, _WORDS) else np.asarray(value).tolist()
    except Exception:  # noqa: BLE001 - what libraries raise: of a traced or a deleted array
        return None
    parts = plain if isinstance(plain, list) else [plain]
    return repr(plain) if all(isinstance(x, (Real, *_WORDS)) for x in parts) else None


def _at_work(
    found: list[tuple[str, Mapping[str, Any], int]],
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return those that have made most steps: states are values, and the first ones linger."""
    most = max((steps for *_, steps in found), default=0)
    return [(where, values) for where, values, steps in found if steps in (most, -1)]


def _optimizers(
    thing: Any, where: str, depth: int = 0
) -> Iterator[tuple[str, Mapping[str, Any], int]]:
    """Yield where optimizers are, their settings and their steps; -1 where they are objects."""
    kind = type(thing)  # asked instead of `thing`, whose attributes may be anything
    if hasattr(kind, "hyperparams") and hasattr(kind, "count"):
        steps = _text(thing.count)
        if steps is not None:  # else traced by a compiler
            yield where, thing.hyperparams, int(float(steps))
    elif hasattr(kind, "learning_rate") and hasattr(kind, "apply_gradients"):
        numbers = {n: x for n, x in vars(thing).items() if isinstance(x, (int, float))}
        yield where, {**numbers, "learning_rate": thing.learning_rate}, -1
    elif depth < _DEEPEST:
        for name, part in islice(_inner(thing), _WIDEST):
            yield from _optimizers(part, f"{where}.{name}", depth + 1)


def _inner(thing: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(thing, dict):
        yield from dict.items(thing)  # no method of its own, which may note what training reads
    elif isinstance(thing, (list, tuple)):
        yield from enumerate(thing)
    elif any(name in getattr(thing, "__dict__", ()) for name in _HOLDERS):
        yield from vars(thing).items()

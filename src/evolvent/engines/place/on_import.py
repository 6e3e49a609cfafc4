"""How a module is imported: from which text, and what is to be done as soon as it is there."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ExtensionFileLoader, ModuleSpec, SourceFileLoader
from typing import Any

from evolvent.engines.place.sources import ModuleText

Act = Callable[[types.ModuleType], None]


def when_imported(name: str, act: Act) -> None:
    """Call `act` with a module: now if it is imported already, else at the end of its import.

    It is not imported for that.
    """
    module = sys.modules.get(name)
    if module is not None:
        act(module)
        return
    _install()
    _finder.waiting.setdefault(name, []).append(act)


def keep_texts(texts: Mapping[str, ModuleText]) -> None:
    """Import modules, by name, as they were, from now on."""
    if texts:
        _install()
        _finder.texts.update(texts)


def _install() -> None:
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


class _Finder:
    """Lets the others find what was not edited, and adds what is to be done afterwards."""

    def __init__(self) -> None:
        self.texts: dict[str, ModuleText] = {}
        self.waiting: dict[str, list[Act]] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = self.texts[name].spec(name) if name in self.texts else None
        if name not in self.waiting:
            return spec
        if spec is None:
            others = (getattr(f, "find_spec", None) for f in sys.meta_path if f is not self)
            found = (find(name, path, target) for find in others if find is not None)
            spec = next((spec for spec in found if spec is not None), None)
        # Other loaders are not instances of their own for each module.
        if spec is not None and isinstance(spec.loader, (SourceFileLoader, ExtensionFileLoader)):
            self._act_after(spec.loader)
        return spec

    def _act_after(self, loader: Any) -> None:
        def exec_module(module: types.ModuleType) -> None:
            del loader.exec_module  # that of its class again, also for a reload
            loader.exec_module(module)
            # Only now: many look for a module to see whether it is there, and do not import it.
            for act in self.waiting.pop(module.__name__, ()):
                act(module)

        loader.exec_module = exec_module


_finder = _Finder()

"""The text of the user's own modules: all workers of a run import the same, whenever they start."""

from __future__ import annotations

import os
import sys
import types
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path

from evolvent.engines.place.script import is_installed

_INIT = "__init__.py"


@dataclass(frozen=True, slots=True)
class ModuleText:
    """A module as it was when the run began.

    Attributes:
        path: of its file.
        changed_ns: when that was changed last.
        text: what was in it.
    """

    path: str
    changed_ns: int
    text: bytes

    def spec(self, name: str) -> ModuleSpec | None:
        """Return how to import this text; None while it is that of the file."""
        try:
            if os.stat(self.path).st_mtime_ns == self.changed_ns:
                return None  # as usual, from bytecode
        except OSError:  # it has been removed
            pass
        folder = [os.path.dirname(self.path)] if os.path.basename(self.path) == _INIT else None
        return spec_from_file_location(
            name,
            self.path,
            loader=_TextLoader(name, self.path, self.text),
            submodule_search_locations=folder,
        )


class _TextLoader(SourceFileLoader):
    def __init__(self, name: str, path: str, text: bytes) -> None:
        super().__init__(name, path)
        self._text = text

    def get_data(self, path: str) -> bytes:
        return self._text if path == self.path else super().get_data(path)

    def get_code(self, fullname: str) -> types.CodeType:  # noqa: ARG002 - it has one module
        # Bytecode beside the file may be that of another text.
        code: types.CodeType = self.source_to_code(self._text, self.path)
        return code


def users_modules() -> dict[str, types.ModuleType]:
    """Return the imported modules that are the user's own, by name."""
    return {
        name: module
        for name, module in list(sys.modules.items())
        if name not in ("__main__", "__mp_main__")
        # Of its own variables: what else it is asked for may be imported then, or fail to be.
        and issubclass(type(module), types.ModuleType)
        and vars(module).get("__name__") == name
        and isinstance(file := vars(module).get("__file__"), str)
        and not is_installed(file)
    }


def texts_of_modules() -> dict[str, ModuleText]:
    """Return the text of the user's own modules, by name."""
    found: dict[str, ModuleText] = {}
    for name, module in users_modules().items():
        path = os.path.abspath(vars(module)["__file__"])
        if path.endswith(".py"):
            try:
                changed_ns = os.stat(path).st_mtime_ns  # first: a change meanwhile is seen then
                found[name] = ModuleText(path, changed_ns, Path(path).read_bytes())
            except OSError:  # it has been removed: workers will say what they lack
                continue
    return found

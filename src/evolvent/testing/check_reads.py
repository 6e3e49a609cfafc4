"""Hyperparameters that note which of them training code reads."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping
from typing import Any

_OURS = ("evolvent.core", "evolvent.testing.check_reads")
_NO_READER = "evolvent.engines.live"
_NONE = object()


class RecordedReads(dict[str, Any]):
    """A dict that notes the dotted names read in it; who goes through it has read all of them."""

    def __init__(self, values: Mapping[str, Any], read: set[str], prefix: str = "") -> None:
        self._read, self._prefix = read, prefix
        super().__init__(
            (key, RecordedReads(x, read, f"{prefix}{key}.") if isinstance(x, dict) else x)
            for key, x in values.items()
        )

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._note(key)
        return super().get(key, default)

    def pop(self, key: str, default: Any = _NONE) -> Any:
        self._note(key)
        return super().pop(key) if default is _NONE else super().pop(key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        self._note(key)
        return super().setdefault(key, default)

    def __iter__(self) -> Iterator[str]:
        self._note_all()
        return super().__iter__()

    def keys(self) -> Any:
        self._note_all()
        return super().keys()

    def values(self) -> Any:
        self._note_all()
        return super().values()

    def items(self) -> Any:
        self._note_all()
        return super().items()

    def popitem(self) -> tuple[str, Any]:
        self._note_all()
        return super().popitem()

    def copy(self) -> dict[str, Any]:
        return dict(self.items())

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self.copy(),)

    def __deepcopy__(self, memo: Any) -> RecordedReads:
        values = {key: copy.deepcopy(x, memo) for key, x in super().items()}
        return RecordedReads(values, self._read, self._prefix)

    def _note(self, key: str) -> None:
        value = super().get(key)
        if not isinstance(value, RecordedReads):  # else it is what is read in that
            self._read.add(f"{self._prefix}{key}")

    def _note_all(self) -> None:
        if _reader() != _NO_READER:
            for key, value in super().items():
                value._note_all() if isinstance(value, RecordedReads) else self._note(key)


def _reader() -> str:
    """Return the module that reads; not one of those that read on behalf of others."""
    frame = sys._getframe(1)
    while (name := frame.f_globals.get("__name__", "")).startswith(_OURS) and frame.f_back:
        frame = frame.f_back
    return str(name)

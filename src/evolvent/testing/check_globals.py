"""Which globals training changes: they stay in a process, from round to round, for all members."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from evolvent.engines.place.shared_models import used_globals
from evolvent.testing.check_values import leaves


@dataclass(frozen=True, slots=True)
class ChangedGlobal:
    """A global of the user's module, or an attribute of the class, with the type of its value."""

    name: str
    kind: str

    def __str__(self) -> str:
        return f"the global {self.name!r} ({self.kind})"


class GlobalsWatch:
    """Remembers what the globals hold that training code uses."""

    def __init__(self, trainable: Any) -> None:
        self._trainable = trainable
        self._before = self._digests()

    def changed(self) -> list[ChangedGlobal]:
        """Return those that hold something else by now."""
        values, digests = used_globals(self._trainable), self._digests()
        return [
            ChangedGlobal(name, type(values[name]).__name__)
            for name, digest in digests.items()
            if digest != self._before.get(name, "")
        ]

    def _digests(self) -> dict[str, str | None]:
        return {name: _digest(x) for name, x in used_globals(self._trainable).items()}


def _digest(value: Any) -> str | None:
    """Return a hash of what an object holds; None of one that cannot be taken apart."""
    digest = sha256()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # taking some apart is deprecated
            for name, found, _ in leaves(value):
                digest.update(f"{name}={found};".encode())
    except Exception:  # noqa: BLE001 - whatever objects raise that are asked for their state
        return None
    return digest.hexdigest()

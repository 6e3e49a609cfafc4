"""Studies that decide by code of somebody's own, which the service does not import."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from evolvent.core.algorithms import Algorithm, algorithm_to_json
from evolvent.store.protocol import Store
from evolvent.validation import invalid

_IMPORTING_FIELDS = {"CustomExplore": "fn"}
"""Types whose field is a path that deciding imports."""

_MOST_ALLOWED = 10_000


def refuse_foreign(algorithm: Algorithm) -> None:
    """Refuse an algorithm that has an import path in it; nothing is imported to find out.

    Raises:
        ConfigError: names the field.
    """
    for field, path in _paths(algorithm_to_json(algorithm), "algorithm"):
        raise invalid(
            field,
            f"got {path!r:.120}, code that this service does not import: wanted one of "
            "the built-in strategies; a study with code of its own needs a store that its workers "
            "reach directly (SQLite or PostgreSQL)",
        )


class DecisionPolicy:
    """Which studies the service may decide for.

    Args:
        store: what is served.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._allowed: set[int] = set()

    def check(self, study: int) -> None:
        """Refuse a study whose algorithm is not all built in.

        Raises:
            ConfigError: names the field.
            UnknownStudy: there is none of that number.
        """
        if study in self._allowed:
            return
        refuse_foreign(self._store.status(study).record.algorithm)
        # All at once: they are found again at the price of one look each.
        if len(self._allowed) >= _MOST_ALLOWED:
            self._allowed.clear()
        self._allowed.add(study)


def _paths(data: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        field = _IMPORTING_FIELDS.get(data.get("type", ""))
        if field is not None:
            yield f"{where}.{field}", data.get(field)
        for name, value in data.items():
            yield from _paths(value, f"{where}.{name}")
    elif isinstance(data, (list, tuple)):
        for number, value in enumerate(data):
            yield from _paths(value, f"{where}[{number}]")

"""Studies that decide by code of somebody's own, which the service does not import."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from evolvent.core.algorithms import Algorithm, algorithm_to_json
from evolvent.validation import invalid

_IMPORTING_FIELDS = {"CustomExplore": "fn"}
"""Types whose field is a path that deciding imports."""


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

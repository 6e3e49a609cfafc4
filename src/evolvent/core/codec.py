"""Frozen dataclasses as JSON: `{"type": "Uniform", "low": 0.0, "high": 1.0}` and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

from evolvent.errors import ConfigError
from evolvent.validation import cut, invalid

_T = TypeVar("_T")


def encode(value: Any, table: Mapping[str, type], *, what: str) -> dict[str, Any]:
    """Return a dataclass whose fields are JSON scalars or tuples of them as a JSON object.

    Raises:
        ConfigError: its type is none of `table`; arguments as `decode`.
    """
    if type(value) not in table.values():
        raise invalid(what, f"{cut(value)} cannot be stored, only {', '.join(table)} can")
    plain = {f.name: getattr(value, f.name) for f in fields(value)}
    return {
        "type": type(value).__name__,
        **{name: list(x) if isinstance(x, tuple) else x for name, x in plain.items()},
    }


def decode(data: Any, table: Mapping[str, type[_T]], *, what: str, within: str = "") -> _T:
    """Return the value that `encode` turned into `data`.

    Args:
        data: a JSON object with `type` and fields; a bare string is a type with all defaults.
        table: the types there are, by name.
        what: the field that is read.
        within: what an error message says before it, such as "space: ".

    Raises:
        ConfigError: names the unknown type, the unknown or missing field, or the wrong value.
    """
    cls, given = named(data, table, what=what, within=within)
    known: dict[str, Field[Any]] = {f.name: f for f in fields(cls) if f.init}  # type: ignore[arg-type]  # tables hold dataclasses
    unknown = [name for name in given if name not in known]
    if unknown:
        raise invalid(
            what,
            f"{cls.__name__} has no field {unknown[0]!r}, wanted {', '.join(known) or 'no fields'}",
            within=within,
        )
    missing = [name for name, f in known.items() if name not in given and _required(f)]
    if missing:
        raise invalid(what, f"{cls.__name__} lacks the field {missing[0]!r}", within=within)
    try:
        return cls(**given)
    except ConfigError as e:
        raise invalid(what, str(e), within=within) from e


def named(
    data: Any, table: Mapping[str, type[_T]], *, what: str, within: str = ""
) -> tuple[type[_T], dict[str, Any]]:
    """Return the type that `data` names and its other fields; arguments as `decode`."""
    if isinstance(data, str):
        data = {"type": data}
    if not isinstance(data, Mapping):
        raise invalid(what, f"got {cut(data)}, wanted one of {', '.join(table)}", within=within)
    kind = data.get("type")
    if not isinstance(kind, str) or kind not in table:
        raise invalid(
            what, f"got type {cut(kind)}, wanted one of {', '.join(table)}", within=within
        )
    return table[kind], {name: value for name, value in data.items() if name != "type"}


def by_name(*types: type[_T]) -> dict[str, type[_T]]:
    """Return types by the names under which `encode` writes them and `decode` finds them."""
    return {kind.__name__: kind for kind in types}


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING

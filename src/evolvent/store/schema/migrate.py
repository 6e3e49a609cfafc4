"""Bring a store's tables to the newest version: numbered steps, forward only, each applied once."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Any, Literal, Protocol, TypeAlias

from evolvent.errors import SchemaTooNew, StoreDamaged

VERSION = 3
"""The newest version: that of `schema.py` and of the last file in `migrations`."""

_READ = "SELECT version FROM schema_version"
_WRITE = "UPDATE schema_version SET version = :version"
_BEGIN = "INSERT INTO schema_version VALUES (:version)"
_TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
    "postgres": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()",
}

Kind: TypeAlias = Literal["sqlite", "postgres"]


class Executes(Protocol):
    """What runs a statement: a connection to a file, or a visit to a server."""

    @property
    def execute(self) -> Callable[..., Any]: ...


def migrate(connection: Executes, kind: Kind = "sqlite") -> None:
    """Make or mend the tables, within the caller's transaction.

    Raises:
        SchemaTooNew: a newer evolvent has written this store.
        StoreDamaged: the tables belong to another program.
    """
    tables = {name for (name,) in connection.execute(_TABLES[kind])}
    if not tables:
        create(connection, kind)
    elif "schema_version" not in tables:
        some = ", ".join(sorted(tables)[:3])
        raise StoreDamaged(f"it belongs to another program (tables: {some}): name another")
    else:
        upgrade(connection, kind, to=VERSION)


def create(connection: Executes, kind: Kind = "sqlite") -> None:
    """Make all tables as the newest version has them."""
    from evolvent.store.schema import tables as schema  # noqa: PLC0415 - imports SQLAlchemy, used once

    for statement in schema.statements(kind):
        connection.execute(statement)
    connection.execute(_BEGIN, {"version": VERSION})


def upgrade(connection: Executes, kind: Kind = "sqlite", *, to: int) -> None:
    """Apply the steps between the version of the tables and `to`.

    Raises:
        SchemaTooNew: the tables are newer than `to`.
    """
    (version,) = connection.execute(_READ).fetchone()
    if version > to:
        raise SchemaTooNew(
            f"the store has schema version {version}, this evolvent knows {to}:"
            " install the evolvent that wrote it, or a newer one"
        )
    for number in range(version + 1, to + 1):
        apply(connection, number, kind)
        connection.execute(_WRITE, {"version": number})


def apply(connection: Executes, number: int, kind: Kind = "sqlite") -> None:
    """Run the statements of one step."""
    for statement in step(number, kind).split(";\n"):
        if statement.strip():
            connection.execute(statement)


def step(number: int, kind: Kind = "sqlite") -> str:
    """Return the SQL of one step."""
    folder = resources.files("evolvent.store.schema") / "migrations" / kind
    (file,) = (f for f in folder.iterdir() if f.name.startswith(f"{number:04}_"))
    return file.read_text(encoding="utf-8")

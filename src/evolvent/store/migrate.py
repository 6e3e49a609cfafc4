"""Bring a store's tables to the newest version: numbered steps, forward only, each applied once."""

from __future__ import annotations

import sqlite3
from importlib import resources

from evolvent.errors import SchemaTooNew, StoreDamaged

VERSION = 1
"""The newest version: that of `schema.py` and of the last file in `migrations`."""

_READ = "SELECT version FROM schema_version"
_WRITE = "UPDATE schema_version SET version = :version"
_BEGIN = "INSERT INTO schema_version VALUES (:version)"
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"


def migrate(connection: sqlite3.Connection) -> None:
    """Make or mend the tables, within the caller's transaction.

    Raises:
        SchemaTooNew: a newer evolvent has written this store.
        StoreDamaged: the file belongs to another program.
    """
    tables = {name for (name,) in connection.execute(_TABLES)}
    if not tables:
        create(connection)
    elif "schema_version" not in tables:
        some = ", ".join(sorted(tables)[:3])
        raise StoreDamaged(f"the file belongs to another program (tables: {some}): name another")
    else:
        upgrade(connection, to=VERSION)


def create(connection: sqlite3.Connection) -> None:
    """Make all tables as the newest version has them."""
    from sqlalchemy.dialects import sqlite  # noqa: PLC0415 - half of a worker's start, used once

    from evolvent.store import schema  # noqa: PLC0415 - imports SQLAlchemy

    for statement in schema.statements(sqlite.dialect()):
        connection.execute(statement)
    connection.execute(_BEGIN, {"version": VERSION})


def upgrade(connection: sqlite3.Connection, *, to: int) -> None:
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
        apply(connection, number)
        connection.execute(_WRITE, {"version": number})


def apply(connection: sqlite3.Connection, number: int) -> None:
    """Run the statements of one step."""
    for statement in step(number).split(";\n"):
        if statement.strip():
            connection.execute(statement)


def step(number: int) -> str:
    """Return the SQL of one step."""
    folder = resources.files("evolvent.store") / "migrations" / "sqlite"
    (file,) = (f for f in folder.iterdir() if f.name.startswith(f"{number:04}_"))
    return file.read_text(encoding="utf-8")

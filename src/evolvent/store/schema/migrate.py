"""Make a store's tables, or bring them to the newest version by numbered steps, forward only.

The tables of the newest version are in `schema.sqlite.sql` and `schema.postgres.sql`; the step to
version N is `migrations/NNNN_what_it_does.sql`; where the two databases need statements of their
own it is `migrations/NNNN_what_it_does.sqlite.sql` and `migrations/NNNN_what_it_does.postgres.sql`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import resources
from typing import Any, Literal, Protocol, TypeAlias

from evolvent.errors import SchemaTooNew, StoreDamaged, StoreUnavailable

VERSION = 8
"""The newest version: that of the two schema files, and of the last step if there is one."""

OLDEST = 3
"""The oldest version from which steps lead on; those before were in no release."""

_READ = "SELECT version FROM schema_version"
_WRITE = "UPDATE schema_version SET version = :version"
_BEGIN = "INSERT INTO schema_version VALUES (:version)"
_TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
    "postgres": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()",
}
_COMMENT = re.compile("--.*")
FOLDER = resources.files("evolvent.store.schema")
"""Where the schema files and the steps are."""

Kind: TypeAlias = Literal["sqlite", "postgres"]


class Executes(Protocol):
    """What runs a statement: a connection to a file, or one to a server."""

    @property
    def execute(self) -> Callable[..., Any]: ...


def migrate(connection: Executes, kind: Kind = "sqlite") -> None:
    """Make or mend the tables, within the caller's transaction.

    Raises:
        SchemaTooNew: a newer evolvent has written this store.
        StoreUnavailable: an evolvent that was never released has written it.
        StoreDamaged: the tables belong to another program.
    """
    tables = {name for (name,) in connection.execute(_TABLES[kind])}
    if not tables:
        create(connection, kind)
        return
    _check_ours(tables)
    upgrade(connection, kind, to=VERSION)


def check_newest(connection: Executes) -> None:
    """Refuse a SQLite file that could only be read after something has been written to it.

    Raises:
        StoreUnavailable: there is nothing in it yet, or an older evolvent has written it.
        SchemaTooNew, StoreDamaged: as with `migrate`.
    """
    tables = {name for (name,) in connection.execute(_TABLES["sqlite"])}
    if not tables:
        raise StoreUnavailable("it is empty: no study has been created there")
    _check_ours(tables)
    (version,) = connection.execute(_READ).fetchone()
    if version < VERSION:
        raise StoreUnavailable(
            f"the store has schema version {version}, this evolvent reads {VERSION}, and it cannot"
            " be brought up where nothing may be written: copy it, and its checkpoints if you need"
            " them, to a directory where you may write, and open it there"
        )
    upgrade(connection, to=VERSION)


def _check_ours(tables: set[str]) -> None:
    if "schema_version" not in tables:
        some = ", ".join(sorted(tables)[:3])
        raise StoreDamaged(f"it belongs to another program (tables: {some}): name another")


def create(connection: Executes, kind: Kind = "sqlite") -> None:
    """Make all tables as the newest version has them."""
    _run(connection, (FOLDER / f"schema.{kind}.sql").read_text(encoding="utf-8"))
    connection.execute(_BEGIN, {"version": VERSION})


def upgrade(connection: Executes, kind: Kind = "sqlite", *, to: int) -> None:
    """Apply the steps between the version of the tables and `to`.

    Raises:
        SchemaTooNew: the tables are newer than `to`.
        StoreUnavailable: they are older than any step.
    """
    (version,) = connection.execute(_READ).fetchone()
    if version > to:
        raise SchemaTooNew(
            f"the store has schema version {version}, this evolvent knows {to}:"
            " install the evolvent that wrote it, or a newer one"
        )
    if version < OLDEST:
        raise StoreUnavailable(
            f"the store has schema version {version}, which no released evolvent wrote; this one"
            f" reads {OLDEST} and newer: name a new store, or read it with the evolvent that wrote"
            " it"
        )
    for number in range(version + 1, to + 1):
        _run(connection, _step(number, kind))
        connection.execute(_WRITE, {"version": number})


def _step(number: int, kind: Kind) -> str:
    name = re.compile(rf"{number:04}_\w+(\.{kind})?\.sql")
    (file,) = (step for step in (FOLDER / "migrations").iterdir() if name.fullmatch(step.name))
    return file.read_text(encoding="utf-8")


def _run(connection: Executes, script: str) -> None:
    # One statement at a time: executescript() would commit the caller's transaction. Without the
    # comments, or SQLite would keep, and parse at every opening, those within a statement.
    for statement in _COMMENT.sub("", script).split(";"):
        if statement.strip():
            connection.execute(statement)

"""Opening a PostgreSQL store: is the server fit, and do the tables have the newest version."""

from __future__ import annotations

import re
import secrets
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection, Cursor, sql

from evolvent.errors import SchemaTooNew, StoreDamaged, StoreUnavailable
from evolvent.store.postgres.errors import translate_error
from evolvent.store.postgres.lock_watch import LockWatch
from evolvent.store.postgres.pool import connect, refused
from evolvent.store.postgres.statements import StatementCache
from evolvent.store.postgres.url import PLACE_VARIABLE, PostgresUrl
from evolvent.store.schema import migrate
from evolvent.store.sql.database import Database

_OLDEST_SERVER = 130000
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('evolvent'), hashtext(:schema))"
_TABLE_EXISTS = "SELECT to_regclass(:table) IS NOT NULL"
_SCHEMA_EXISTS = "SELECT to_regnamespace(:schema) IS NOT NULL"
_VERSION = "SELECT version FROM schema_version"
_PLACE_ID = "SELECT id FROM place"
_INSERT_PLACE = "INSERT INTO place (id) VALUES (:id)"
_LOCK_CLASS = "SELECT CAST(CAST(to_regclass(:table) AS oid) AS bigint)"
_CLAIM_PLACE = "UPDATE place SET made_at = :here WHERE made_at IS NULL RETURNING made_at"
_MADE_AT = "SELECT made_at FROM place"


def prepare(address: PostgresUrl, *, create: bool) -> CheckpointRoot:
    """Connect once, make or mend the tables if need be, and return what the store is known by.

    Raises:
        StoreUnavailable: the server cannot be reached, or refuses, or there is no store.
        StoreDamaged: the schema belongs to another program.
        SchemaTooNew: it was written by a newer evolvent.
    """
    try:
        connection = connect(address)
    except psycopg.Error as e:
        raise refused(e, address.url) from e
    watch = LockWatch(address)
    try:
        with closing(connection), closing(watch):
            watch.begin(connection)
            _check_server(connection)
            bootstrap = Bootstrap(connection, address.schema)
            bootstrap.bring_up_to_date(create=create)
            return bootstrap.checkpoint_root(address)
    except psycopg.Error as e:
        raise translate_error(e, address.url) from e
    except (SchemaTooNew, StoreDamaged, StoreUnavailable) as e:
        raise type(e)(f"{address.url}: {e}") from None


class Bootstrap:
    """One connection to a server whose store may not be there yet."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self._statements = StatementCache(schema)

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> Cursor:
        return self._connection.execute(self._statements[statement], values, prepare=False)

    def bring_up_to_date(self, *, create: bool) -> None:
        """Make or mend the tables if need be, while others who would wait."""
        if self._exists() and self._first(_VERSION) == migrate.VERSION:
            return
        name = sql.Identifier(self._schema)
        with self._connection.transaction():
            # Of many processes that find no tables one makes them; the others wait, and look again.
            # Not IF NOT EXISTS: two that make the same table at once fail in PostgreSQL's catalog.
            self._first(_LOCK, schema=self._schema)
            if not self._exists():
                if not create:
                    raise StoreUnavailable(
                        f"there is no store in schema {self._schema!r}: no study has been created "
                        "there"
                    )
                # It may be there, and not ours.
                if not self._first(_SCHEMA_EXISTS, schema=self._schema):
                    self._connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
            # CREATE statements name no schema. LOCAL, since behind pgbouncer the next transaction
            # in this session may be another client's.
            self._connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(name))
            migrate.migrate(self, "postgres")
            if self.execute(_PLACE_ID).fetchone() is None:
                label = re.sub(r"[^A-Za-z0-9_.-]+", "-", self._connection.info.dbname)[:40]
                self.execute(_INSERT_PLACE, {"id": f"{label}-{secrets.token_hex(4)}"})

    def checkpoint_root(self, address: PostgresUrl) -> CheckpointRoot:
        """Return what the store is known by."""
        oid = self._first(_LOCK_CLASS, table=self._name("study"))
        return CheckpointRoot(address, self._first(_PLACE_ID), lock_class=oid - 2**31)

    def _exists(self) -> bool:
        return bool(self._first(_TABLE_EXISTS, table=self._name("schema_version")))

    def _name(self, table: str) -> str:
        return f'"{self._schema}".{table}'

    def _first(self, statement: str, **values: Any) -> Any:
        row = self.execute(statement, values).fetchone()
        return None if row is None else row[0]


def _check_server(connection: Connection) -> None:
    version = connection.info.server_version
    if version < _OLDEST_SERVER:
        raise StoreUnavailable(f"PostgreSQL {version // 10000} is too old: 13 is needed")
    (encoding,) = connection.execute("SHOW server_encoding").fetchone() or ("",)
    if encoding != "UTF8":
        raise StoreUnavailable(
            f"the database has the encoding {encoding}: make one with createdb --encoding=UTF8"
        )


class CheckpointRoot:
    """What identifies a store on its server, and where its checkpoints are.

    They lie in a directory of the store's own below the one that the user names, so that stores
    which share that one keep apart. The store knows where it was first made: a worker that would
    look for checkpoints elsewhere gets an error before it trains.

    Attributes:
        lock_class: first half of the keys of this store's advisory locks.
        checkpoints: where the checkpoints of all its studies are.
    """

    def __init__(self, address: PostgresUrl, id: str, *, lock_class: int) -> None:
        self.lock_class = lock_class
        self.checkpoints: Path = address.checkpoints / id
        self._url = address.url
        self._ensured = False

    def ensure(self, database: Database) -> None:
        """Make sure that the directory is there; the first one to ask makes it.

        Raises:
            StoreUnavailable: it is not there, or cannot be made.
        """
        if self._ensured:
            return
        if not self.checkpoints.is_dir():
            self._make(database)
        self._ensured = True

    def _make(self, database: Database) -> None:
        here = f"{socket.gethostname()}:{self.checkpoints}"
        with database.write(synced=True) as tx:
            if tx.execute(_CLAIM_PLACE, {"here": here}).fetchone() is None:
                if self.checkpoints.is_dir():  # another has made it while we waited for our turn
                    return
                (made_at,) = tx.execute(_MADE_AT).fetchone()
                raise StoreUnavailable(
                    f"{self._url}: its checkpoints are in {made_at}, and there is no directory "
                    f"{self.checkpoints} here: name the one that all machines share by "
                    f"?checkpoints=DIRECTORY or {PLACE_VARIABLE}, or mount it"
                )
            try:
                self.checkpoints.mkdir(parents=True, exist_ok=True)
            except OSError as e:
                raise StoreUnavailable(
                    f"{self._url}: the directory of checkpoints {self.checkpoints} cannot be made "
                    f"({e.strerror}): name another by ?checkpoints=DIRECTORY or {PLACE_VARIABLE}"
                ) from e

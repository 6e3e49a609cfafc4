"""A PostgreSQL database for many processes: transactions, locks, the clock, errors."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import psycopg
from psycopg import Connection

from evolvent.store.postgres_errors import explained, interrupted, is_lost, is_undone
from evolvent.store.postgres_pool import Pool
from evolvent.store.postgres_schema import prepare
from evolvent.store.postgres_sql import READ, Texts, begin_writing
from evolvent.store.postgres_transaction import Snapshot, Written, last_row
from evolvent.store.postgres_url import parse

_PATIENCE_S = 60.0


class PostgresDatabase:
    """A schema of one database on a PostgreSQL server, and a directory of checkpoints.

    What changes a study takes an advisory lock on its number for as long as its transaction
    lasts: in READ COMMITTED each statement then sees all that others have done to the study.
    Nothing is kept in a session between transactions, so pgbouncer may stand in between.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        """Connect, and bring the tables to the newest version.

        Raises:
            ConfigError: the URL cannot be read.
            StoreUnavailable: the server cannot be reached, or refuses; says why.
            StoreDamaged: the schema belongs to another program.
            SchemaTooNew: it was written by a newer evolvent.
        """
        self._address = parse(url)
        self._home = prepare(self._address, create=create)
        self._texts = Texts(self._address.schema)
        self._ahead_s = 0.0  # of our clock is the server's, or a little more
        self._mutexes: dict[int, threading.Lock] = {}
        self._pool = Pool(self._address, forget=self._mutexes.clear)
        self._finalizer = weakref.finalize(self, self._pool.close)

    def __repr__(self) -> str:
        return f"<PostgresDatabase {self.url}>"

    @property
    def pool(self) -> Pool:
        return self._pool

    @property
    def url(self) -> str:
        return self._address.url

    @property
    def address(self) -> str:
        return self._address.secret_url

    @property
    def checkpoints(self) -> Path:
        return self._home.checkpoints

    def clock(self) -> float:
        return time.time() + self._ahead_s

    def heard(self, at: float) -> None:
        self._ahead_s = at - time.time()

    @property
    def distant(self) -> bool:
        return True

    def found_checkpoints(self) -> None:
        self._home.found_checkpoints(self)

    def write(
        self,
        *,
        synced: bool,
        study: int | None = None,
        committed: Callable[[], None] | None = None,
    ) -> Written:
        return self._written(study, committed, synced=synced, patience_s=_PATIENCE_S)

    def alone(self, study: int | None = None, *, patience_s: float = _PATIENCE_S) -> Written:
        return self._written(study, None, synced=False, patience_s=patience_s)

    @contextmanager
    def read(self) -> Iterator[Snapshot]:
        connection, _ = self.begin(READ)
        try:
            yield Snapshot(connection, self._texts)
            connection.execute(b"COMMIT", prepare=False)
        except psycopg.Error as e:
            self.fail(e, connection, unsure=False)
        finally:
            self.pool.give(connection)

    def once(self, sql: str, values: Mapping[str, Any]) -> list[Any]:
        connection = self.pool.take()
        try:
            return connection.execute(self._texts[sql], values).fetchall()
        except psycopg.Error as e:
            self.fail(e, connection, unsure=True)
        finally:
            self.pool.give(connection)

    def close(self) -> None:
        self._finalizer()

    def begin(self, statements: bytes) -> tuple[Connection, Any]:
        """Begin a transaction; return what the last of these statements has found.

        A connection that the server has dropped since its last use is replaced unseen.
        """
        connection = self.pool.take()
        try:
            return connection, self._begun(connection, statements)
        except psycopg.Error as e:
            if not is_lost(e, connection):
                self.fail(e, connection, unsure=False)
        self.pool.check()
        connection = self.pool.take()
        try:
            return connection, self._begun(connection, statements)
        except psycopg.Error as e:
            self.fail(e, connection, unsure=False)

    def fail(self, error: psycopg.Error, connection: Connection, *, unsure: bool) -> NoReturn:
        """Raise ours for an error of the server's.

        Args:
            error: the error.
            connection: where it came from.
            unsure: whether what was asked may have been done if the connection is lost.
        """
        if is_lost(error, connection):
            raise interrupted(error, self.url, unsure=unsure) from error
        if is_undone(error):
            raise interrupted(error, self.url, unsure=False) from error
        raise explained(error, self.url) from error

    def _begun(self, connection: Connection, statements: bytes) -> Any:
        try:
            return last_row(connection.execute(statements, prepare=False))
        except BaseException:
            self.pool.give(connection)
            raise

    def _written(
        self,
        study: int | None,
        committed: Callable[[], None] | None,
        *,
        synced: bool,
        patience_s: float,
    ) -> Written:
        lock = None if study is None else (self._home.lock_class, study)
        mutex = None if study is None else self._mutexes.setdefault(study, threading.Lock())
        begin = begin_writing(lock, synced=synced, patience_s=patience_s)
        return Written(self, self._texts, begin, mutex=mutex, committed=committed)

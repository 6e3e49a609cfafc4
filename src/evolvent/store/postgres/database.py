"""A PostgreSQL database for many processes: transactions, locks, the clock, errors."""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import psycopg
from psycopg import Connection, Cursor, sql

from evolvent.store.locks import check_not_mine, forget_mine, note_mine
from evolvent.store.postgres.errors import ROLLED_BACK, connection_lost, is_lost, translate_error
from evolvent.store.postgres.pool import Pool
from evolvent.store.postgres.setup import prepare
from evolvent.store.postgres.statements import READ, StatementCache, begin_writing
from evolvent.store.postgres.url import parse

_MAX_IDLE_S = 60.0
_ROWS_A_FETCH = 2000
_cursor_numbers = itertools.count()


class PostgresDatabase:
    """A schema of one database on a PostgreSQL server, and a directory of checkpoints.

    What changes a study takes an advisory lock on its number for as long as its transaction
    lasts: in READ COMMITTED each statement then sees all that others have done to the study.
    Nothing is kept in a session between transactions, so pgbouncer may stand in between.
    """

    durable = True
    is_remote = True
    read_only = False

    def __init__(self, url: str, *, create: bool = True) -> None:
        """Connect, and bring the tables to the newest version.

        Raises:
            ConfigError: the URL cannot be read.
            StoreUnavailable: the server cannot be reached, or refuses; says why.
            StoreDamaged: the schema belongs to another program.
            SchemaTooNew: it was written by a newer evolvent.
        """
        self._address = parse(url)
        self._root = prepare(self._address, create=create)
        self._statements = StatementCache(self._address.schema)
        self._server_ahead_s = 0.0  # of our clock is the server's, or a little more
        self._mutexes: dict[int, threading.Lock] = {}
        self.pool = Pool(self._address, on_fork=self._mutexes.clear)
        self._finalizer = weakref.finalize(self, self.pool.close)

    def __repr__(self) -> str:
        return f"<PostgresDatabase {self.url}>"

    @property
    def url(self) -> str:
        return self._address.url

    @property
    def secret_url(self) -> str:
        return self._address.secret_url

    @property
    def checkpoints(self) -> Path:
        return self._root.checkpoints

    def clock(self) -> float:
        return time.time() + self._server_ahead_s

    def observe_server_time(self, at: float) -> None:
        self._server_ahead_s = at - time.time()

    def frozen_at(self) -> None:
        """Others may always write."""

    def ensure_checkpoint_root(self) -> None:
        self._root.ensure(self)

    @contextmanager
    def write(
        self,
        *,
        synced: bool,
        study: int | None = None,
        committed: Callable[[], None] | None = None,
        max_idle_s: float = _MAX_IDLE_S,
    ) -> Iterator[PostgresTransaction]:
        # READ COMMITTED under an advisory lock on the study: every statement sees all that others
        # have committed, and nothing of the study changes under it, but for claims of queued jobs.
        lock = None if study is None else (self._root.lock_class, study)
        begin = begin_writing(lock, synced=synced, max_idle_s=max_idle_s)
        # Threads of one process queue here: waiting for the advisory lock would take a connection
        # each, and they would use up the pool.
        with self._queued(study):
            connection, (now,) = self.begin(begin)
            maybe_committed = False
            try:
                try:
                    self.observe_server_time(now)
                    yield PostgresTransaction(connection, self._statements, now)
                    # From here on a lost connection leaves open whether the server has committed.
                    maybe_committed = True
                    connection.execute(b"COMMIT", prepare=False)
                    # Before the mutex goes: the next thread must find the population confirmed.
                    if committed is not None:
                        committed()
                finally:
                    self.pool.give(connection)
            except psycopg.Error as e:
                self.fail(e, connection, maybe_committed=maybe_committed)

    @contextmanager
    def _queued(self, study: int | None) -> Iterator[None]:
        if study is None:
            yield
            return
        key = (self._address.url, study)
        check_not_mine(key, self._address.url)
        with self._mutexes.setdefault(study, threading.Lock()):
            note_mine(key)
            try:
                yield
            finally:
                forget_mine(key)

    def exclusive(
        self, study: int | None = None, *, max_wait_s: float = _MAX_IDLE_S
    ) -> AbstractContextManager[PostgresTransaction]:
        return self.write(synced=False, study=study, max_idle_s=max_wait_s)

    @contextmanager
    def read(self) -> Iterator[PostgresSnapshot]:
        connection, _ = self.begin(READ)
        try:
            yield PostgresSnapshot(connection, self._statements)
            connection.execute(b"COMMIT", prepare=False)
        except psycopg.Error as e:
            self.fail(e, connection, maybe_committed=False)
        finally:
            self.pool.give(connection)

    def autocommit(self, sql: str, values: Mapping[str, Any]) -> list[Any]:
        connection = self.pool.take()
        try:
            return connection.execute(self._statements[sql], values).fetchall()
        except psycopg.Error as e:
            self.fail(e, connection, maybe_committed=True)
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
            return connection, self._begin_on(connection, statements)
        except psycopg.Error as e:
            if not is_lost(e, connection):
                self.fail(e, connection, maybe_committed=False)
        # The server was restarted since: all other pooled connections are as dead as this one.
        self.pool.check()
        connection = self.pool.take()
        try:
            return connection, self._begin_on(connection, statements)
        except psycopg.Error as e:
            self.fail(e, connection, maybe_committed=False)

    def fail(
        self, error: psycopg.Error, connection: Connection, *, maybe_committed: bool
    ) -> NoReturn:
        """Raise ours for an error of the server's.

        `maybe_committed`: whether what was asked may have been done if the connection is lost.
        """
        lost = is_lost(error, connection)
        if lost or isinstance(error, ROLLED_BACK):  # for no fault in it
            maybe_committed = maybe_committed and lost
            raise connection_lost(error, self.url, maybe_committed=maybe_committed) from error
        raise translate_error(error, self.url) from error

    def _begin_on(self, connection: Connection, statements: bytes) -> Any:
        try:
            cursor = connection.execute(statements, prepare=False)
            while cursor.nextset():  # only the last statement is asked for something
                pass
            return None if cursor.description is None else cursor.fetchone()
        except BaseException:
            self.pool.give(connection)
            raise


class PostgresSnapshot:
    """One snapshot to read from."""

    __slots__ = ("_connection", "_statements")

    def __init__(self, connection: Connection, statements: StatementCache) -> None:
        self._connection = connection
        self._statements = statements

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> Cursor:
        return self._connection.execute(self._statements[statement], values)

    def each(self, statement: str, values: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        # It goes with the transaction, however far it was read.
        name = b"each%d" % next(_cursor_numbers)
        declare = b"DECLARE %s NO SCROLL CURSOR FOR %s" % (name, self._statements[statement])
        self._connection.execute(declare, values, prepare=False)
        fetch = b"FETCH %d FROM %s" % (_ROWS_A_FETCH, name)
        while rows := self._connection.execute(fetch, prepare=False).fetchall():
            yield from rows

    def now(self) -> float:
        return float(self.execute("SELECT date_part('epoch', now())").fetchone()[0])  # type: ignore[index]  # always a row


class PostgresTransaction(PostgresSnapshot):
    """A transaction that writes; in it each statement sees what others have committed."""

    __slots__ = ("_now",)

    def __init__(self, connection: Connection, statements: StatementCache, now: float) -> None:
        super().__init__(connection, statements)
        self._now = now

    def now(self) -> float:
        return self._now

    def sync_commit(self) -> None:
        self._connection.execute(b"SET LOCAL synchronous_commit = on")

    def fill(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        copy = sql.SQL("COPY {}.{} ({}) FROM STDIN").format(
            sql.Identifier(self._statements.schema),
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
        )
        with self._connection.cursor() as cursor, cursor.copy(copy) as lines:
            for row in rows:
                lines.write_row(row)

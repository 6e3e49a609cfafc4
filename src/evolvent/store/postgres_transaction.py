"""Transactions on a PostgreSQL server: one connection each, from begin to commit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from threading import Lock
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

import psycopg
from psycopg import Connection, Cursor, sql

from evolvent.store.postgres_pool import Pool
from evolvent.store.postgres_sql import Texts

_PAGE = 2000
_numbers = itertools.count()


class Server(Protocol):
    """What a transaction asks of the database that it is in."""

    @property
    def pool(self) -> Pool: ...

    def begin(self, statements: bytes) -> tuple[Connection, Any]: ...

    def heard(self, at: float) -> None: ...

    def fail(self, error: psycopg.Error, connection: Connection, *, unsure: bool) -> NoReturn: ...


class Snapshot:
    """One snapshot to read from."""

    __slots__ = ("_connection", "_texts")

    def __init__(self, connection: Connection, texts: Texts) -> None:
        self._connection = connection
        self._texts = texts

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> Cursor:
        return self._connection.execute(self._texts[statement], values)

    def each(self, statement: str, values: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        name = b"each%d" % next(_numbers)  # goes with the transaction, however far it was read
        declare = b"DECLARE %s NO SCROLL CURSOR FOR %s" % (name, self._texts[statement])
        self._connection.execute(declare, values, prepare=False)
        fetch = b"FETCH %d FROM %s" % (_PAGE, name)
        while rows := self._connection.execute(fetch, prepare=False).fetchall():
            yield from rows

    def now(self) -> float:
        return float(self.execute("SELECT date_part('epoch', now())").fetchone()[0])  # type: ignore[index]  # always a row


class Written:
    """`with database.write(...) as tx:`; commits at the end, rolls back on an exception."""

    __slots__ = (
        "_begin",
        "_committed",
        "_connection",
        "_database",
        "_mutex",
        "_now",
        "_texts",
    )
    _connection: Connection
    _now: float

    def __init__(
        self,
        database: Server,
        texts: Texts,
        begin: bytes,
        *,
        mutex: Lock | None,
        committed: Callable[[], None] | None,
    ) -> None:
        """Make a context; it begins to wait for its turn when it is entered.

        Args:
            database: where to write.
            texts: its statements.
            begin: what begins the transaction; the last of these statements gives the time.
            mutex: taken before, so that threads of one process queue here and not at the server.
            committed: called after the commit, when other threads of this process still wait.
        """
        self._database = database
        self._texts = texts
        self._begin = begin
        self._mutex = mutex
        self._committed = committed

    def __enter__(self) -> Self:
        if self._mutex is not None:
            self._mutex.acquire()
        try:
            self._connection, (self._now,) = self._database.begin(self._begin)
            self._database.heard(self._now)
        except BaseException:
            self._let_go()
            raise
        return self

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> Cursor:
        return self._connection.execute(self._texts[statement], values)

    def now(self) -> float:
        return self._now

    def fill(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        copy = sql.SQL("COPY {}.{} ({}) FROM STDIN").format(
            sql.Identifier(self._texts.schema),
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
        )
        with self._connection.cursor() as cursor, cursor.copy(copy) as lines:
            for row in rows:
                lines.write_row(row)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        connection, unsure = self._connection, False
        try:
            if error is None:
                unsure = True
                connection.execute(b"COMMIT", prepare=False)
                if self._committed is not None:
                    self._committed()
        except psycopg.Error as e:
            error = e
        finally:
            try:
                self._database.pool.give(connection)
            finally:  # also on Ctrl-C in the middle of that
                self._let_go()
        if isinstance(error, psycopg.Error):
            self._database.fail(error, connection, unsure=unsure)

    def _let_go(self) -> None:
        if self._mutex is not None:
            self._mutex.release()


def last_row(cursor: Cursor) -> Any:
    """Return the first row of the last of several statements; None if it finds none."""
    while cursor.nextset():
        pass
    return None if cursor.description is None else cursor.fetchone()

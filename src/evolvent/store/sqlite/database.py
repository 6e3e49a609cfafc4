"""A SQLite file as a database for many processes: its transactions."""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from evolvent.errors import SchemaTooNew, StoreDamaged, StoreUnavailable
from evolvent.store.locks import forget_mine, note_mine
from evolvent.store.sqlite.connections import Connections
from evolvent.store.sqlite.location import check_place, translate_error, why_read_only
from evolvent.store.sqlite.read_only import ReadOnlyConnections

_OLDEST = (3, 35, 0)


class SqliteDatabase:
    """One SQLite file in WAL mode.

    Every write transaction holds an in-process mutex and a `flock`; so does whatever else may
    write the log back into the file (opening, closing), because of the fault that SQLite before
    3.51.3 has there. Readers wait for nobody. A forked child never touches what it inherited.
    """

    durable = True
    is_remote = False
    clock = staticmethod(time.time)

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Open the file and bring its tables to the newest version; may it not, only to be read.

        Raises:
            StoreUnavailable: it cannot be made, read or written there.
            StoreDamaged: it is not a whole store.
            SchemaTooNew: it was written by a newer evolvent.
        """
        # Of a link, the file that it leads to: beside that are the log and the lock of all others.
        self.path = Path(os.path.realpath(path)) if path.is_symlink() else path.absolute()
        if sqlite3.sqlite_version_info < _OLDEST:
            raise StoreUnavailable(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 is needed")
        if self.durable:  # else its directory has just been made for it, and may be anywhere
            check_place(self.path, create=create)
        self._read_only = why_read_only(self.path)
        kind = ReadOnlyConnections if self.read_only else Connections
        self.connections = kind(self.path, url=self.url, durable=self.durable)
        self._finalizer = weakref.finalize(self, self.connections.retire)
        try:
            self.connections.open(create=create)
        except (sqlite3.Error, OSError) as e:
            self.close()
            raise translate_error(e, self.path) from e
        except (SchemaTooNew, StoreDamaged, StoreUnavailable) as e:
            self.close()
            raise type(e)(f"{self.path}: {e}") from None

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    @property
    def read_only(self) -> bool:
        return self._read_only is not None

    def frozen_at(self) -> float | None:
        return self.connections.frozen_at()

    @property
    def secret_url(self) -> str:
        return self.url

    @property
    def checkpoints(self) -> Path:
        return self.path.with_name(f"{self.path.stem}.checkpoints")

    def observe_server_time(self, at: float) -> None:
        """Do nothing: it is our own clock."""

    def ensure_checkpoint_root(self) -> None:
        """Do nothing: they are beside the file."""

    def write(
        self,
        *,
        synced: bool,
        study: int | None = None,  # noqa: ARG002 - the lock is on all studies
        committed: Callable[[], None] | None = None,
    ) -> WriteTransaction:
        """Return a context: one transaction, alone in all processes; see `Database.write`."""
        self._check_writable()
        return WriteTransaction(self.connections, synced and self.durable, committed)

    @contextmanager
    def read(self) -> Iterator[SqliteTransaction]:
        """Give one snapshot to read from, whoever writes meanwhile."""
        try:
            connection = self.connections.reader()
            # Each thread reads on a connection of its own, so that a snapshot is its own, too.
            connection.execute("BEGIN")
            try:
                yield SqliteTransaction(connection)
            finally:
                connection.execute("ROLLBACK")
                self.connections.give_back(connection)
        except sqlite3.Error as e:
            raise translate_error(e, self.path) from e

    def exclusive(
        self,
        study: int | None = None,  # noqa: ARG002 - the lock is on all studies
        *,
        max_wait_s: float = 0.0,  # noqa: ARG002 - it is let go when its holder dies
    ) -> ExclusiveLock:
        """Return a context: nobody else writes; each statement is a transaction, not synced."""
        self._check_writable()
        return ExclusiveLock(self.connections)

    def autocommit(self, sql: str, values: Mapping[str, Any]) -> list[Any]:
        with self.exclusive() as tx:
            return tx.execute(sql, {**values, "now": time.time()}).fetchall()

    def _check_writable(self) -> None:
        if self._read_only is not None:
            raise StoreUnavailable(self._read_only)

    def close(self) -> None:
        self._finalizer.detach()
        self.connections.close()


class SqliteTransaction:
    """What reads and writes offer alike: SQL and the clock."""

    __slots__ = ("execute", "synced")
    now = staticmethod(time.time)  # a SQLite file lives on one machine, and has its clock

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.execute = connection.execute
        self.synced = False

    def sync_commit(self) -> None:
        self.synced = True

    def each(self, sql: str, values: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        yield from self.execute(sql, values)  # begun only when the first row is asked for

    def fill(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        marks = ", ".join("?" * len(columns))
        sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"
        self.execute("SELECT 1").executemany(sql, rows)


class ExclusiveLock:
    """`with database.exclusive() as tx:`; what one statement reads still holds for the next.

    A class: as a generator it would cost a claim and its report some 5 % more time.
    """

    __slots__ = ("_connection", "_connections", "_tx")
    _connection: sqlite3.Connection
    _begin = staticmethod(Connections.exclusive)

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def __enter__(self) -> SqliteTransaction:
        connections = self._connections
        connections.check_not_mine()
        connections.mutex.acquire()
        try:
            self._connection = self._begin(connections)
            note_mine(connections.lock.path)
        except BaseException as e:
            connections.mutex.release()
            if isinstance(e, (sqlite3.Error, OSError)):
                raise translate_error(e, connections.path) from e
            raise
        self._tx = SqliteTransaction(self._connection)
        if not self._connection.in_transaction:  # then each statement takes SQLite's own lock
            self._tx.execute = partial(connections.wait_for, self._connection)
        return self._tx

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # In this order: the lock is on a descriptor that all threads share, so the next thread to
        # get the mutex would have it at once, and lose it to us.
        self._let_go()
        if isinstance(error, sqlite3.Error):
            raise translate_error(error, self._connections.path) from error

    def _let_go(self) -> None:
        forget_mine(self._connections.lock.path)
        self._connections.lock.unlock()
        self._connections.mutex.release()


class WriteTransaction(ExclusiveLock):
    """`with database.write(...) as tx:`; commits at the end, rolls back on an exception."""

    __slots__ = ("_committed", "_synced")
    _begin = staticmethod(Connections.begin)

    def __init__(
        self, connections: Connections, synced: bool, committed: Callable[[], None] | None
    ) -> None:
        super().__init__(connections)
        self._synced = synced
        self._committed = committed

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self._connection.execute("COMMIT")
                # Under the lock: what this process knows must be of this commit, not of the next.
                if self._committed is not None:
                    self._committed()
        except sqlite3.Error as e:
            error = e
        finally:
            if self._connection.in_transaction:
                with suppress(sqlite3.Error):  # what matters is what went wrong before
                    self._connection.execute("ROLLBACK")
            self._let_go()
        if isinstance(error, sqlite3.Error):
            raise translate_error(error, self._connections.path) from error
        # Without the lock: others write while the disk turns, and one turn takes theirs along. So
        # they may read what is not on the disk yet, but nobody has been told that it is.
        if error is None and (self._synced or self._tx.synced):
            try:
                self._connections.sync()
            except OSError as e:
                raise translate_error(e, self._connections.path) from e

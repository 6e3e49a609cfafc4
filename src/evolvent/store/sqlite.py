"""A SQLite file as a database for many processes: connections, the lock, transactions, errors."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from evolvent.errors import SchemaTooNew, StoreDamaged, StoreUnavailable
from evolvent.store.migrate import migrate
from evolvent.store.sqlite_lock import FileLock
from evolvent.store.sqlite_place import check_place, explained

_WAITS_S = 30.0
_LOG_PAGES = 4000  # 16 MB: a page that changes often is written back once for many changes
_OLDEST = (3, 35, 0)
_SOUND = (3, 51, 3)

_logger = logging.getLogger("evolvent")


class Transaction:
    """What a transaction offers: SQL, the clock, and deeds to be done once it has happened."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.execute = connection.execute
        self._connection = connection
        self.deeds: list[Callable[[], None]] = []

    def many(self, sql: str, rows: Iterator[dict[str, object]]) -> None:
        self._connection.executemany(sql, rows)

    def now(self) -> float:
        """Return the database's clock: a SQLite file lives on one machine, and has its clock."""
        return time.time()

    def afterwards(self, deed: Callable[[], None]) -> None:
        """Do this after the commit, before anybody else can write; never when it is rolled back."""
        self.deeds.append(deed)


class SqliteDatabase:
    """One SQLite file in WAL mode.

    Every write transaction holds an in-process mutex and a `flock`; so does whatever else may
    write the log back into the file (opening, closing), because of the fault that SQLite before
    3.51.3 has there. Readers wait for nobody. A forked child never touches what it inherited.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Open the file and bring its tables to the newest version.

        Raises:
            StoreUnavailable: it cannot be made, read or written there.
            StoreDamaged: it is not a whole store.
            SchemaTooNew: it was written by a newer evolvent.
        """
        self.path = path.absolute()
        if sqlite3.sqlite_version_info < _OLDEST:
            raise StoreUnavailable(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 is needed")
        check_place(self.path, create=create)
        self._handles = _Handles(self.path)
        self._finalizer = weakref.finalize(self, self._handles.close)
        try:
            self._handles.open(create=create)
        except (sqlite3.Error, OSError) as e:
            self.close()
            raise explained(e, self.path) from e
        except (SchemaTooNew, StoreDamaged) as e:
            self.close()
            raise type(e)(f"{self.path}: {e}") from None

    def write(self, *, synced: bool) -> Writing:
        """Return a context: one transaction, alone in all processes.

        Args:
            synced: on disk before the context ends; else it survives the death of the process.
        """
        return Writing(self._handles, synced=synced)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Give one snapshot to read from, whoever writes meanwhile."""
        try:
            connection = self._handles.reader()
            connection.execute("BEGIN")
            try:
                yield Transaction(connection)
            finally:
                connection.execute("ROLLBACK")
                self._handles.give_back(connection)
        except sqlite3.Error as e:
            raise explained(e, self.path) from e

    def close(self) -> None:
        self._finalizer()


class Writing:
    """`with database.write(...) as tx:`; commits at the end, rolls back on an exception."""

    __slots__ = ("_connection", "_handles", "_synced", "_tx")

    def __init__(self, handles: _Handles, *, synced: bool) -> None:
        self._handles = handles
        self._synced = synced

    def __enter__(self) -> Transaction:
        handles = self._handles
        handles.mutex.acquire()
        try:
            self._connection = handles.begin(synced=self._synced)
        except BaseException as e:
            handles.mutex.release()
            if isinstance(e, (sqlite3.Error, OSError)):
                raise explained(e, handles.path) from e
            raise
        self._tx = Transaction(self._connection)
        return self._tx

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._connection.execute("COMMIT")
                for deed in self._tx.deeds:
                    deed()
        except sqlite3.Error as e:
            error = e
        finally:
            self._end()
        if isinstance(error, sqlite3.Error):
            raise explained(error, self._handles.path) from error

    def _end(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        finally:
            self._handles.lock.release()
            self._handles.mutex.release()


class _Handles:
    """What one process holds open of one file: connections and the lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mutex = threading.Lock()
        self.lock = FileLock(path.with_name(f"{path.name}.lock"))
        self._writer: sqlite3.Connection | None = None
        self._idle: list[sqlite3.Connection] = []
        self._synced: bool | None = None
        self._closed = False
        _ALIVE.add(self)

    def open(self, *, create: bool) -> None:
        """Make the file if need be and bring its tables to the newest version."""
        with self.mutex:
            self.lock.acquire()
            try:
                self._prepare(new=create and not _has_content(self.path))
            finally:
                self.lock.release()

    def _prepare(self, *, new: bool) -> None:
        connection = self._connect()
        if new:
            connection.execute("PRAGMA journal_mode = WAL")
            _warn_of_old_sqlite()
        connection.execute("BEGIN IMMEDIATE")
        try:
            migrate(connection)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def begin(self, *, synced: bool) -> sqlite3.Connection:
        """Take the lock and begin a transaction; the caller holds the mutex."""
        self.lock.acquire()
        try:
            connection = self._writer or self._connect()
            if synced is not self._synced:
                connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
                self._synced = synced
            connection.execute("BEGIN IMMEDIATE")
        except BaseException:
            self.lock.release()
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        self._writer = self._new()
        self._synced = None
        return self._writer

    def reader(self) -> sqlite3.Connection:
        """Take an idle connection for reading, or open one."""
        try:
            return self._idle.pop()
        except IndexError:
            connection = self._new()
            connection.execute("PRAGMA query_only = ON")
            return connection

    def give_back(self, connection: sqlite3.Connection) -> None:
        self._idle.append(connection)

    def _new(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreUnavailable(f"{self.path}: the store has been closed: open it again")
        connection = sqlite3.connect(
            self.path,
            timeout=_WAITS_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        return connection

    def close(self) -> None:
        """Close everything, under the lock: the last one to close writes the log back."""
        with self.mutex:
            self._closed = True
            connections = [c for c in (self._writer, *self._idle) if c is not None]
            self._writer, self._idle = None, []
            if connections:
                self.lock.acquire()
            for connection in connections:
                connection.close()
            self.lock.close()

    def abandon(self) -> None:
        """Forget everything in a forked child, closing nothing that SQLite holds."""
        _INHERITED.append((self._writer, self._idle))
        self._writer, self._idle = None, []
        self.mutex = threading.Lock()
        self.lock.close()


_ALIVE: weakref.WeakSet[_Handles] = weakref.WeakSet()
_INHERITED: list[object] = []  # closing a parent's connection in a child would corrupt its locks


def _abandon_all() -> None:
    for handles in list(_ALIVE):
        handles.abandon()


os.register_at_fork(after_in_child=_abandon_all)


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _warn_of_old_sqlite() -> None:
    if sqlite3.sqlite_version_info < _SOUND:
        _logger.warning(
            "SQLite %s has a rare fault when two programs write its log back at once (mended in"
            " 3.51.3). evolvent never does; keep other programs from writing to the file",
            sqlite3.sqlite_version,
        )

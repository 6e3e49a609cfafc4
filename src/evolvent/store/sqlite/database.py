"""A SQLite file as a database for many processes: connections, the lock, transactions, errors."""

from __future__ import annotations

import atexit
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from evolvent.errors import SchemaTooNew, StoreDamaged, StoreUnavailable
from evolvent.store.locks import Lock
from evolvent.store.schema.migrate import migrate
from evolvent.store.sqlite.location import check_place, translate_error

_OLDEST = (3, 35, 0)
_WAITS_S = 30.0
_PAGE_BYTES = 2048  # a change rewrites, and all others read again, pages of which little differs
_LOG_PAGES = 4000  # 8 MB: a page that changes often is written back once for many changes
_SOUND = (3, 51, 3)

_logger = logging.getLogger("evolvent")
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter


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
        """Open the file and bring its tables to the newest version.

        Raises:
            StoreUnavailable: it cannot be made, read or written there.
            StoreDamaged: it is not a whole store.
            SchemaTooNew: it was written by a newer evolvent.
        """
        # Of a link, the file that it leads to: beside that are the log and the lock of all others.
        self.path = path.resolve() if path.is_symlink() else path.absolute()
        if sqlite3.sqlite_version_info < _OLDEST:
            raise StoreUnavailable(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 is needed")
        if self.durable:  # else its directory has just been made for it, and may be anywhere
            check_place(self.path, create=create)
        self.connections = Connections(self.path, url=self.url, durable=self.durable)
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
        return ExclusiveLock(self.connections)

    def autocommit(self, sql: str, values: Mapping[str, Any]) -> list[Any]:
        with ExclusiveLock(self.connections) as tx:
            return tx.execute(sql, {**values, "now": time.time()}).fetchall()

    def close(self) -> None:
        self._finalizer.detach()
        self.connections.close()


class Connections:
    """Connections to one file, and the two locks that guard its one writer.

    Commits are not synced by SQLite: whoever must be sure calls `sync` when others may write
    already, so that many processes share one turn of the disk.

    Args:
        path: of the file.
        url: of the store, for messages.
        durable: whether the file outlives this process; else nothing is ever synced.
    """

    def __init__(self, path: Path, *, url: str, durable: bool = True) -> None:
        self.path = path
        self._url = url
        self._durable = durable
        self.mutex = threading.Lock()
        self.lock = Lock(path.with_name(f"{path.name}.lock"))
        self._writer: sqlite3.Connection | None = None
        self._idle: list[sqlite3.Connection] = []
        self._log: int | None = None
        self._closed = False
        _ALIVE.add(self)

    def open(self, *, create: bool) -> None:
        """Make the file if need be and bring its tables to the newest version."""
        _close_retired()
        with self.mutex:
            # Also to open: the first connection may write the log of a killed process back, and of
            # two processes that find no tables only one may make them.
            self.lock.acquire()
            try:
                self._prepare(new=create and not _has_content(self.path))
            finally:
                self.lock.unlock()

    def _prepare(self, *, new: bool) -> None:
        connection = self._connect()
        if new:  # the page size counts only before the first write, which the next line is
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            if self._durable:
                _note_old_sqlite()
        # All in one transaction: whoever is killed in the middle leaves a file as it was, or empty.
        connection.execute("BEGIN IMMEDIATE")
        try:
            _check_size(connection, self.path)
            migrate(connection)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        connection.execute("PRAGMA journal_mode = WAL")  # in case a tool has changed it

    def exclusive(self) -> sqlite3.Connection:
        """Take the lock and return the connection for writing; the caller holds the mutex."""
        # Connect first: others need not wait for it.
        connection = self._writer or self._connect()
        self.lock.acquire()
        return connection

    def begin(self) -> sqlite3.Connection:
        """Take the lock and begin a transaction; the caller holds the mutex."""
        connection = self.exclusive()
        try:
            connection.execute("BEGIN IMMEDIATE")
            # For `sync`: SQLite tells nobody its own descriptor. It stays the same file while a
            # connection is open, since only the last one to close removes it.
            if self._log is None:
                self._log = os.open(f"{self.path}-wal", os.O_RDONLY)
        except BaseException:
            self.lock.unlock()
            raise
        return connection

    def sync(self) -> None:
        """Return when everything that has been committed so far is on the disk.

        SQLite syncs its log before it writes it back, so what is not in the log any more is safe.
        """
        assert self._log is not None  # opened with the first transaction
        _sync(self._log)

    def _connect(self) -> sqlite3.Connection:
        self._writer = self._new()
        return self._writer

    def reader(self) -> sqlite3.Connection:
        """Take an idle connection for reading, or open one."""
        # Not "if self._idle": another thread may take the last one in between.
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
            raise StoreUnavailable(f"{self._url}: the store has been closed: open it again")
        connection = sqlite3.connect(
            self.path,
            timeout=_WAITS_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            connection.execute(f"PRAGMA synchronous = {'NORMAL' if self._durable else 'OFF'}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        except BaseException:
            connection.close()  # of a file that is no database; nobody else knows of it yet
            raise
        return connection

    def close(self) -> None:
        """Close everything, under the lock: the last one to close writes the log back."""
        with self.mutex:
            self._closed = True
            if self._is_open():
                self.lock.acquire()
            self._close_connections()

    def retire(self) -> None:
        """Close everything if the lock is free; else when the next file is opened, or at exit.

        The garbage collector calls this at any time, also while this very thread holds the lock
        on the same file through other connections: to wait for it here would be to wait for ever.
        """
        self._closed = True
        if not self._is_open() or self.lock.try_acquire():
            self._close_connections()
        else:
            _RETIRED.append(self)

    def _is_open(self) -> bool:
        return self._writer is not None or bool(self._idle)

    def _close_connections(self) -> None:
        connections = [c for c in (self._writer, *self._idle) if c is not None]
        # Forgotten before they are closed: whatever is called meanwhile must not find them.
        self._writer, self._idle = None, []
        for connection in connections:
            connection.close()
        self._forget_files()

    def abandon(self) -> None:  # pragma: no cover - in a forked child, where nothing is counted
        """Forget everything in a forked child, closing nothing that SQLite holds."""
        _INHERITED.append((self._writer, self._idle))
        self._writer, self._idle = None, []
        self.mutex = threading.Lock()  # a thread that is not in the child may have had the old one
        self._forget_files()

    def _forget_files(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            os.close(log)
        # Last, after the connections: the last one to close writes the log back under this lock.
        self.lock.release()


_ALIVE: weakref.WeakSet[Connections] = weakref.WeakSet()
_RETIRED: list[Connections] = []
_INHERITED: list[object] = []  # closing a parent's connection in a child would corrupt its locks


def _close_retired() -> None:
    while _RETIRED:
        _RETIRED.pop().close()


def _abandon_all() -> None:  # pragma: no cover - as above
    for connections in list(_ALIVE):
        connections.abandon()


atexit.register(_close_retired)
os.register_at_fork(after_in_child=_abandon_all)


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
        connections.mutex.acquire()
        try:
            self._connection = self._begin(connections)
        except BaseException as e:
            connections.mutex.release()
            if isinstance(e, (sqlite3.Error, OSError)):
                raise translate_error(e, connections.path) from e
            raise
        self._tx = SqliteTransaction(self._connection)
        return self._tx

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # In this order: the lock is on a descriptor that all threads share, so the next thread to
        # get the mutex would have it at once, and lose it to us.
        self._connections.lock.unlock()
        self._connections.mutex.release()
        if isinstance(error, sqlite3.Error):
            raise translate_error(error, self._connections.path) from error


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
            self._connections.lock.unlock()
            self._connections.mutex.release()
        if isinstance(error, sqlite3.Error):
            raise translate_error(error, self._connections.path) from error
        # Without the lock: others write while the disk turns, and one turn takes theirs along. So
        # they may read what is not on the disk yet, but nobody has been told that it is.
        if error is None and (self._synced or self._tx.synced):
            try:
                self._connections.sync()
            except OSError as e:
                raise translate_error(e, self._connections.path) from e


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _check_size(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that ends within a page: SQLite would read zeros for the rest of it.

    Asks for the size only: to open and close the file would drop the locks that SQLite holds on it.
    """
    page = connection.execute("PRAGMA page_size").fetchone()[0]
    if path.stat().st_size % page:
        raise StoreDamaged("the file has been cut short: take another copy")


def _note_old_sqlite() -> None:
    if sqlite3.sqlite_version_info < _SOUND:
        _logger.info(
            "SQLite %s has a rare fault when two programs write its log back at once (mended in"
            " 3.51.3). evolvent never does; keep other programs from writing to the file",
            sqlite3.sqlite_version,
        )

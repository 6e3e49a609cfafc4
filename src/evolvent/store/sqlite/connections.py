"""Connections to a SQLite file: opened, locked, closed, and forgotten in a forked child."""

from __future__ import annotations

import atexit
import logging
import os
import sqlite3
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

from evolvent.errors import StoreDamaged, StoreUnavailable
from evolvent.store.locks import SAYS_AFTER_S, Lock, check_not_mine
from evolvent.store.schema.migrate import migrate

_WAITS_S = 30.0
_PAGE_BYTES = 2048  # a change rewrites, and all others read again, pages of which little differs
_LOG_PAGES = 4000  # 8 MB: a page that changes often is written back once for many changes
_SOUND = (3, 51, 3)
_MODE = 0o666  # less what the umask takes

_logger = logging.getLogger("evolvent")
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter


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
        self.check_not_mine()
        _close_retired()
        with self.mutex:
            # Also to open: the first connection may write the log of a killed process back, and of
            # two processes that find no tables only one may make them.
            self.lock.acquire()
            try:
                self._prepare(new=create and not has_content(self.path))
            finally:
                self.lock.unlock()

    def _prepare(self, *, new: bool) -> None:
        if new:
            _make_file(self.path)
        connection = self._connect()
        if new:  # the page size counts only before the first write, which the next line is
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            if self._durable:
                _note_old_sqlite()
        # All in one transaction: whoever is killed in the middle leaves a file as it was, or empty.
        self.wait_for(connection, "BEGIN IMMEDIATE")
        try:
            check_size(connection, self.path)
            migrate(connection)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        self.wait_for(connection, "PRAGMA journal_mode = WAL")  # in case a tool has changed it

    def check_not_mine(self) -> None:
        """Refuse to wait for a transaction of this very thread; raises StoreUnavailable."""
        check_not_mine(self.lock.path, self._url)

    def frozen_at(self) -> float | None:
        """See `Database.frozen_at`: a file that we may write is not frozen."""
        return None

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
            self.wait_for(connection, "BEGIN IMMEDIATE")
            # For `sync`: SQLite tells nobody its own descriptor. It stays the same file while a
            # connection is open, since only the last one to close removes it.
            if self._log is None:
                self._log = os.open(f"{self.path}-wal", os.O_RDONLY)
        except BaseException:
            self.lock.unlock()
            raise
        return connection

    def wait_for(
        self, connection: sqlite3.Connection, sql: str, values: Any = ()
    ) -> sqlite3.Cursor:
        """Run a statement that another program may hold up, by a lock of its own on the file.

        Outside a transaction: as long as the statement waits it has done nothing. What it waits for
        is said after a while.
        """
        execute = connection.execute
        try:
            return execute(sql, values)
        except sqlite3.OperationalError as e:
            left_s = _WAITS_S - _first_wait_s()
            busy = e.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or left_s <= 0 or connection.in_transaction:
                raise
        _logger.warning(
            "%s is locked by another program, such as a database browser: waiting for it for up to"
            " %.0f s more",
            self.path,
            left_s,
        )
        execute(f"PRAGMA busy_timeout = {1000 * left_s:.0f}")
        try:
            return execute(sql, values)
        finally:
            execute(f"PRAGMA busy_timeout = {1000 * _first_wait_s():.0f}")

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
        self._check_open()
        connection = sqlite3.connect(
            self.path,
            timeout=_first_wait_s(),
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            # Reads the file, which nobody may who comes while another program has it to itself.
            # Later nobody can have: each connection keeps its share of it until it is closed.
            synchronous = "NORMAL" if self._durable else "OFF"
            self.wait_for(connection, f"PRAGMA synchronous = {synchronous}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        except BaseException:
            connection.close()  # of a file that is no database; nobody else knows of it yet
            raise
        return connection

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self._url}: the store has been closed: open it again")

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


def _first_wait_s() -> float:
    return min(SAYS_AFTER_S, _WAITS_S)


def _make_file(path: Path) -> None:
    """Make an empty file unless it is there, with the rights that the umask leaves to others.

    SQLite would leave the group none to write, whatever the umask; its log and the index of that
    take theirs from the file.
    """
    with suppress(FileExistsError):  # not to be opened then: to close it would drop SQLite's locks
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _MODE))


def has_content(path: Path) -> bool:
    """Whether the file is there and not empty."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def check_size(connection: sqlite3.Connection, path: Path) -> None:
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

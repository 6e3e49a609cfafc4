"""A SQLite file as a database for many processes: connections, the lock, transactions, errors."""

from __future__ import annotations

import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from evolvent.errors import SchemaTooNew, StoreDamaged, StoreUnavailable
from evolvent.store.sqlite_handles import Handles
from evolvent.store.sqlite_place import check_place, explained

_OLDEST = (3, 35, 0)


class Transaction:
    """What reads and writes offer alike: SQL and the clock."""

    __slots__ = ("execute",)
    execute: Callable[..., sqlite3.Cursor]

    def now(self) -> float:
        """Return the database's clock: a SQLite file lives on one machine, and has its clock."""
        return time.time()


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
        self.handles = Handles(self.path)
        self._finalizer = weakref.finalize(self, self.handles.retire)
        try:
            self.handles.open(create=create)
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
        return Writing(self, synced=synced)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Give one snapshot to read from, whoever writes meanwhile."""
        try:
            connection = self.handles.reader()
            connection.execute("BEGIN")
            tx = Transaction()
            tx.execute = connection.execute
            try:
                yield tx
            finally:
                connection.execute("ROLLBACK")
                self.handles.give_back(connection)
        except sqlite3.Error as e:
            raise explained(e, self.path) from e

    def alone(self) -> Alone:
        """Return a context: nobody else writes; each statement is a transaction, not synced."""
        return Alone(self)

    def close(self) -> None:
        self._finalizer.detach()
        self.handles.close()


class Alone(Transaction):
    """`with database.alone() as tx:`; what one statement reads still holds for the next."""

    __slots__ = ("_handles",)

    def __init__(self, database: SqliteDatabase) -> None:
        self._handles = database.handles

    def __enter__(self) -> Self:
        handles = self._handles
        handles.mutex.acquire()
        try:
            self.execute = handles.alone().execute
        except BaseException as e:
            handles.mutex.release()
            if isinstance(e, (sqlite3.Error, OSError)):
                raise explained(e, handles.path) from e
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handles.lock.release()
        self._handles.mutex.release()
        if isinstance(error, sqlite3.Error):
            raise explained(error, self._handles.path) from error


class Writing(Transaction):
    """`with database.write(...) as tx:`; commits at the end, rolls back on an exception."""

    __slots__ = ("_connection", "_handles", "_synced")
    _connection: sqlite3.Connection

    def __init__(self, database: SqliteDatabase, *, synced: bool) -> None:
        """Make a context; it begins to wait for its turn when it is entered.

        Args:
            database: where to write.
            synced: on the disk before the context ends; else it survives the death of the process.
        """
        self._handles = database.handles
        self._synced = synced

    def committed(self) -> None:
        """Called after the commit, before anybody else can write."""

    def __enter__(self) -> Self:
        handles = self._handles
        handles.mutex.acquire()
        try:
            self._connection = handles.begin()
        except BaseException as e:
            handles.mutex.release()
            if isinstance(e, (sqlite3.Error, OSError)):
                raise explained(e, handles.path) from e
            raise
        self.execute = self._connection.execute
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.execute("COMMIT")
                self.committed()
        except sqlite3.Error as e:
            error = e
        finally:
            if self._connection.in_transaction:
                self._roll_back()
            self._handles.lock.release()
            self._handles.mutex.release()
        if isinstance(error, sqlite3.Error):
            raise explained(error, self._handles.path) from error
        if error is None and self._synced:
            self._sync()

    def _sync(self) -> None:
        try:
            self._handles.sync()
        except OSError as e:
            raise explained(e, self._handles.path) from e

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # what matters is what went wrong before
            self.execute("ROLLBACK")

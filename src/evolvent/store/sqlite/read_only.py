"""A SQLite file that may only be read: an archive on a CD, another user's, a read-only mount."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from evolvent.errors import StoreBusy, StoreUnavailable
from evolvent.store.schema.migrate import check_newest
from evolvent.store.sqlite.connections import Connections, check_size, has_content
from evolvent.store.sqlite.location import is_unwritable


class ReadOnlyConnections(Connections):
    """Connections for reading only, which write nothing anywhere: no table, no log, no lock.

    Each is opened for a single reading, since others may begin to write, and end, between two.
    """

    def open(self, *, create: bool) -> None:  # noqa: ARG002 - there is nothing to make
        """See whether it can be read."""
        connection = self.reader()
        try:
            check_size(connection, self.path)
            check_newest(connection)
        finally:
            self.give_back(connection)

    def reader(self) -> sqlite3.Connection:
        """Open a connection; `give_back` closes it."""
        self._check_open()
        log = Path(f"{self.path}-wal")
        # Where nobody writes there is no log. Then SQLite would still have to make one, so it is
        # told to take the file as it is, and `give_back` looks whether that was true.
        settled = self._is_settled()
        if not settled and log.exists() and not self._has_index():
            raise StoreUnavailable(
                f"its newest changes are still in {log}, and to read those something must be"
                " written beside it: copy both files, and the checkpoints if you need them, to a"
                " directory where you may write, and open them there"
            )
        mode = "mode=ro&immutable=1" if settled else "mode=ro"
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?{mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            factory=_Connection,
        )
        connection.before = self._look() if settled else None
        return connection

    def give_back(self, connection: sqlite3.Connection) -> None:
        """Close a connection.

        Raises:
            StoreBusy: the file has changed meanwhile, so that what was read may be of both.
        """
        assert isinstance(connection, _Connection)  # from `reader`
        connection.close()
        if connection.before is not None and connection.before != self._look():
            raise StoreBusy(f"{self.path} was changed while it was read: read it again")

    def frozen_at(self) -> float | None:
        """See `Database.frozen_at`: where it is only we who may not write, others may."""
        unwritable = is_unwritable(self.path) and self._is_settled()
        return self.path.stat().st_mtime if unwritable else None

    def _is_settled(self) -> bool:
        return not any(has_content(Path(f"{self.path}-{log}")) for log in ("wal", "journal"))

    def _has_index(self) -> bool:
        return os.path.exists(f"{self.path}-shm") or os.access(self.path.parent, os.W_OK)

    def _look(self) -> tuple[int, ...]:
        """Return what no change of the file leaves as it is: each is made in the log before."""
        now = self.path.stat()
        log = has_content(Path(f"{self.path}-wal"))
        return now.st_ino, now.st_size, now.st_mtime_ns, log


class _Connection(sqlite3.Connection):
    """Knows how the file looked when it was opened as one that nobody writes to."""

    before: tuple[int, ...] | None = None

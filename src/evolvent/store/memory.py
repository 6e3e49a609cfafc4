"""`memory://`: a SQLite file of this process, in a temporary directory that goes with it."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from contextlib import suppress
from pathlib import Path

from evolvent.errors import StoreUnavailable
from evolvent.store.checkpoints import files as tree
from evolvent.store.sqlite.database import SqliteDatabase


class MemoryDatabase(SqliteDatabase):
    """A database of which nothing outlives this process, so that nothing is ever synced.

    Checkpoints are in the same directory. A child that this process forks uses it as well, for as
    long as the parent lives.

    Args:
        name: databases of one name are one, which stays until this process ends. One without a
            name shares with none, and goes when it is closed or when nobody holds it any more.
    """

    durable = False

    def __init__(self, name: str = "") -> None:
        self._name = name
        self._directory = _named(name) if name else _Directory()
        super().__init__(self._directory.path / "log.db")

    @property
    def url(self) -> str:
        return f"memory://{self._name}"

    def close(self) -> None:
        super().close()
        if not self._name:
            self._directory.remove()


class _Directory:
    """A temporary directory; `remove` deletes it, before it would go by itself."""

    def __init__(self) -> None:
        try:
            self.path = Path(tempfile.mkdtemp(prefix="evolvent-"))
        except OSError as e:
            raise StoreUnavailable(
                f"memory://: no temporary directory can be made ({e.strerror or e}): free some"
                " space, or name another place by TMPDIR"
            ) from e
        # Also called when the process ends: after the connections in there have been closed, for
        # finalizers run in the reverse of the order in which they were made.
        self.remove = weakref.finalize(self, _remove, self.path, os.getpid())


def _remove(directory: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked child, whose parent goes on
        with suppress(OSError):
            tree.remove(directory)  # what is sealed in there is read-only


_directories: dict[str, _Directory] = {}
_directories_lock = threading.Lock()


def _named(name: str) -> _Directory:
    with _directories_lock:  # two threads that open a name for the first time must get one place
        if name not in _directories:
            _directories[name] = _Directory()
        return _directories[name]

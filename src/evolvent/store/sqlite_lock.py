"""A lock between processes that keeps its order: one small file beside the database."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

_PAUSES_S = (0.002, 0.004, 0.008, 0.016, 0.032)


class FileLock:
    """An exclusive `flock`, one holder at a time over all processes.

    SQLite's own waiting is a sleep and another try, which starves some of 32 processes; the kernel
    hands an `flock` to whoever has waited. It is let go when its holder dies, however it dies.

    Nobody queues at once, though: a process that is handed the lock for a single transaction finds
    the caches of its core full of others' data, and takes three times as long as one that goes on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Wait for the lock.

        Raises:
            OSError: the file cannot be made or opened.
        """
        for pause in _PAUSES_S:
            if self.acquire_at_once():
                return
            time.sleep(pause)
        fcntl.flock(self._open(), fcntl.LOCK_EX)

    def acquire_at_once(self) -> bool:
        """Take the lock if nobody has it; return whether that was so."""
        try:
            fcntl.flock(self._open(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let the next one have it; nothing happens in a child that was forked meanwhile."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        return self._descriptor

    def close(self) -> None:
        """Forget the file; a forked child must, or it would keep its parent's lock."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

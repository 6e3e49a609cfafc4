"""Locks between threads and processes that end with whoever holds them, however they end."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from evolvent.errors import EvolventError

_PAUSES_S = (0.002, 0.004, 0.008, 0.016, 0.032)


class Lock:
    """A file that is locked until `release`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def touch(self) -> None:
        """Note the time, of the last use."""
        os.utime(self._descriptor)

    def remove(self) -> None:
        """Delete the file; only who has it alone may. Those who wait for it make a new one."""
        self.path.unlink(missing_ok=True)

    def release(self) -> None:
        """Let go of it; also of the copies that forked children have."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def shared(path: Path) -> Lock:
    """Lock a file together with others, waiting for whoever has it alone."""
    return _locked(path, fcntl.LOCK_SH)


def exclusive(path: Path) -> Lock:
    """Lock a file alone, waiting for all others."""
    return _locked(path, fcntl.LOCK_EX)


def try_exclusive(path: Path) -> Lock | None:
    """Lock a file alone; None when somebody else has it."""
    try:
        return _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None


def _locked(path: Path, how: int) -> Lock:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, how)
            named = _is(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        if named:
            return Lock(path, descriptor)
        os.close(descriptor)  # removed while we waited: nobody else will lock this one


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


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
            if self.try_acquire():
                return
            time.sleep(pause)
        fcntl.flock(self._open(), fcntl.LOCK_EX)

    def try_acquire(self) -> bool:
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


class OwnerLock:
    """A lock file, held until `release` or until its holder dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take the lock; nothing happens when we hold it.

        Raises:
            EvolventError: another process holds it.
            OSError: the file cannot be made.
        """
        if self._descriptor is not None:
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            os.close(descriptor)
            raise EvolventError(
                f"{self._path.parent}: another process (a run with loggers, or `evolvent log`) "
                "is writing this study there"
            ) from e
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the next one have it; the file stays, for another may wait on it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)

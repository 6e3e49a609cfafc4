"""Locks between threads and processes: an `flock` on a file, which ends with its holder.

The kernel lets go of it however the holder dies, and hands it to whoever has waited.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evolvent.errors import StoreUnavailable

SAYS_AFTER_S = 5.0
"""So long a lock is waited for in silence; then a line says for which one."""

_PAUSES_S = (0.002, 0.004, 0.008, 0.016, 0.032)
_MODE = 0o666  # less what the umask takes

_logger = logging.getLogger("evolvent")


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.held: set[Hashable] = set()


_mine = _OfThread()


def _forget_all() -> None:  # pragma: no cover - in a forked child, where nothing is counted
    """Forget what the thread that has forked had: a child has no transaction of its parent's."""
    _mine.held.clear()


os.register_at_fork(after_in_child=_forget_all)


def check_not_mine(key: Hashable, what: str) -> None:
    """Refuse to wait for what this very thread has: it would do so for ever.

    Raises:
        StoreUnavailable: it has.
    """
    if key in _mine.held:
        raise StoreUnavailable(
            f"{what}: wanted to open or to change it while it is being changed: code that decides, "
            "such as a custom explore, cannot; it may read with a study that is open already"
        )


def note_mine(key: Hashable) -> None:
    """Note that this thread has a lock."""
    _mine.held.add(key)


def forget_mine(key: Hashable) -> None:
    """Note that this thread has let go of it, or never got it."""
    _mine.held.discard(key)


class Lock:
    """A lock file.

    To hold it once, get it from `shared`, `exclusive` or `try_exclusive`, and `release` it. To hold
    it again and again, make one, `acquire` and `unlock` it: the file stays open in between.
    Threads need a lock each, or a mutex around one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._owner = 0

    def acquire(self) -> None:
        """Wait until nobody else has it.

        Raises:
            OSError: the file cannot be made or opened.
        """
        # Nobody queues at once: a process that is handed the lock for a single transaction finds
        # the caches of its core full of others' data, and takes three times as long as one that
        # goes on. After the pauses it does, for SQLite's own way, to sleep and try again for ever,
        # starves some of 32 processes; the queue of the kernel starves none.
        for pause in _PAUSES_S:
            if self.try_acquire():
                return
            time.sleep(pause)
        with _said(self.path):
            fcntl.flock(self._open(), fcntl.LOCK_EX)

    def try_acquire(self) -> bool:
        """Take it if nobody has it; return whether that was so."""
        descriptor = self._open() if self._descriptor is None else self._descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        """Let the next one have it, and keep the file open to lock it again."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def touch(self) -> None:
        """Note the time, of the last use; while it is held."""
        assert self._descriptor is not None  # held
        os.utime(self._descriptor)

    def remove(self) -> None:
        """Delete the file; only who has it exclusively may. Those who wait make a new one."""
        self.path.unlink(missing_ok=True)

    def release(self) -> None:
        """Let the next one have it, and close the file, if it is open; the file stays."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        # Children that were forked meanwhile (by training code, for one) have this very lock, not
        # one of their own: to close it here would leave it with them, and to unlock it there would
        # take it from us.
        if os.getpid() == self._owner:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)

    def _open(self) -> int:
        if self._descriptor is None:
            # Never inherited by programs that this one starts (PEP 446): they would hold it, too.
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, _MODE)
            self._owner = os.getpid()
        return self._descriptor

    def _is_named(self) -> bool:
        """Whether the path still leads to the file that is open."""
        assert self._descriptor is not None  # held
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False


def shared(path: Path) -> Lock:
    """Lock a file together with others, waiting for whoever has it exclusively."""
    return _locked(path, fcntl.LOCK_SH)


def exclusive(path: Path) -> Lock:
    """Lock a file against all others, waiting for them."""
    return _locked(path, fcntl.LOCK_EX)


def try_exclusive(path: Path) -> Lock | None:
    """Lock a file against all others; None when somebody else has it."""
    try:
        return _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None


def _locked(path: Path, operation: int) -> Lock:
    while True:
        lock = Lock(path)
        try:
            fcntl.flock(lock._open(), operation)
            if lock._is_named():
                return lock
        except BaseException:
            lock.release()
            raise
        # Its holder has removed the file while we waited for it: whoever comes now locks another
        # one of this name, and would not see us. So do we.
        lock.release()


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """Say what is waited for, should it take long."""
    timer = threading.Timer(SAYS_AFTER_S, _say, (path,))
    timer.daemon = True
    with suppress(RuntimeError):  # no thread can be started, as when Python ends
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _say(path: Path) -> None:
    say_waiting(str(path), _holder(path))


def say_waiting(what: str, holder: str) -> None:
    """Say what is waited for, and who has it."""
    _logger.warning(
        "waiting for %s, which %s holds: until that lets go of it, or ends", what, holder
    )


def _holder(path: Path) -> str:
    """Return who holds the lock, as far as the system tells."""
    with suppress(OSError, ValueError):
        stat = path.stat()
        file = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
        for line in Path("/proc/locks").read_text().splitlines():
            _, kind, _, _, pid, locked, *_ = line.split()  # of who waits, "->" stands before
            if (kind, locked) == ("FLOCK", file) and int(pid) > 0:
                return f"process {pid}"
    return "another process"

"""Locks between threads and processes that end with whoever holds them, however they end."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


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


def alone(path: Path) -> Lock:
    """Lock a file alone, waiting for all others."""
    return _locked(path, fcntl.LOCK_EX)


def alone_at_once(path: Path) -> Lock | None:
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

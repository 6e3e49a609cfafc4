"""Where a SQLite file may live, and what went wrong when it cannot: checks and error messages."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from evolvent.errors import (
    NO_SPACE,
    StorageFull,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
)

_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "fuse.sshfs"})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space and go on; nothing is lost",
    sqlite3.SQLITE_READONLY: "it is read-only for this user: allow writing to it and its directory",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check the path and that you may write there",
    sqlite3.SQLITE_IOERR: "reading or writing failed: check the disk and the space left on it",
    sqlite3.SQLITE_PERM: "access was denied: check who owns it",
    sqlite3.SQLITE_AUTH: "access was denied: check who owns it",
}


def check_place(path: Path, *, create: bool, mounts: Path = Path("/proc/self/mountinfo")) -> None:
    """Refuse an absolute path where a store cannot live, before anything is written.

    `mounts` is the kernel's table of mounts; not there on other systems than Linux.

    Raises:
        StoreUnavailable: names the path, what is wrong and what to do.
    """
    directory = path.parent
    if path.is_dir():
        raise StoreUnavailable(f"{path} is a directory: name a file in it, such as evolvent.db")
    if not directory.is_dir():
        raise StoreUnavailable(f"{path}: there is no directory {directory}: make it first")
    if not path.exists() and not create:
        raise StoreUnavailable(f"{path}: there is no such file: no study has been created there")
    if not os.access(directory, os.W_OK):
        raise StoreUnavailable(f"{path}: directory {directory} is read-only for this user")
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise StoreUnavailable(f"{path}: {_ADVICE[sqlite3.SQLITE_READONLY]}")
    kind = filesystem(directory, mounts)
    if kind in _NETWORK:
        raise StoreUnavailable(
            f"{path} is on a network file system ({kind}), where SQLite loses data:"
            " put it on a local disk"
        )


def filesystem(directory: Path, mounts: Path) -> str:
    """Return the type of the file system that holds `directory`; empty if it is not known."""
    try:
        table = mounts.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    real, best, kind = directory.resolve(), -1, ""
    for line in table.splitlines():
        fields, _, source = line.partition(" - ")
        point = Path(fields.split()[4].replace("\\040", " "))
        if real.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), source.split()[0]
    return kind


def translate_error(error: sqlite3.Error | OSError, path: Path) -> StoreError:
    """Return the error to raise for what SQLite or the system said about the file at `path`."""
    if isinstance(error, OSError):
        kind = StorageFull if error.errno in NO_SPACE else StoreUnavailable
        return kind(f"{path}: {error.strerror or error}: check path, permissions, space")
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _DAMAGED:
        return StoreDamaged(
            f"{path} is not a whole evolvent store ({error}): take another copy, made"
            " while nothing runs and with the -wal file beside it, or by `VACUUM INTO`"
        )
    if code in _BUSY:
        return StoreBusy(f"{path} stayed locked by another program ({error}): close it and repeat")
    if code in _ADVICE:
        kind = StorageFull if code == sqlite3.SQLITE_FULL else StoreUnavailable
        return kind(f"{path}: {_ADVICE[code]} ({error})")
    return StoreError(f"{path}: {error}")

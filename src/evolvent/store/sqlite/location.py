"""Where a SQLite file may live, and what went wrong when it cannot: checks and error messages."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from pathlib import Path

from evolvent.errors import (
    NO_SPACE,
    StorageFull,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreMissing,
    StoreUnavailable,
)
from evolvent.store.atomic_write import is_special

_ANYBODY_WRITES = 0o222
_ALLOW = "EVOLVENT_ALLOW_NETWORK_FS"
# Those on which one kernel, and no other, sees every lock and every shared page of a file: disks,
# memory, and layers over them. Shared folders of virtual machines (9p, virtiofs, drvfs, vboxsf, …)
# are not, nor are clusters', nor what is mounted through a program whose other end is not known.
_LOCAL = frozenset(
    {
        # disks
        "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "reiserfs",
        "reiser4", "nilfs2", "ubifs", "jffs2", "minix", "udf", "ntfs", "ntfs3", "fuseblk", "vfat",
        "exfat", "msdos", "apfs", "hfs", "hfsplus", "ufs", "lxfs", "wslfs",
        # memory
        "tmpfs", "ramfs", "rootfs", "devtmpfs",
        # layers
        "overlay", "fuse.fuse-overlayfs", "aufs", "ecryptfs",
        # only to be read
        "squashfs", "erofs", "iso9660", "cramfs", "romfs",
    }
)  # fmt: skip
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

_logger = logging.getLogger("evolvent")


def check_place(path: Path, *, create: bool, mounts: Path = Path("/proc/self/mountinfo")) -> None:
    """Refuse an absolute path where a store cannot live, before anything is written.

    `mounts` is the kernel's table of mounts; not there on other systems than Linux.

    Raises:
        StoreUnavailable: names the path, what is wrong and what to do.
    """
    directory = path.parent
    _check_kind(path)
    if not directory.is_dir():
        missing = StoreUnavailable if create else StoreMissing
        raise missing(f"{path}: there is no directory {directory}: make it first")
    if not path.exists() and not create:
        raise StoreMissing(f"{path}: there is no such file: no study has been created there")
    if not path.exists() and not os.access(directory, os.W_OK):
        raise StoreUnavailable(_read_only_directory(path))
    if path.exists() and not os.access(path, os.R_OK):
        raise StoreUnavailable(f"{path}: {_ADVICE[sqlite3.SQLITE_PERM]}")
    kind = filesystem(directory, mounts)
    if kind and kind not in _LOCAL:
        _refuse(path, kind)


def _check_kind(path: Path) -> None:
    if path.is_dir():
        raise StoreUnavailable(f"{path} is a directory: name a file in it, such as evolvent.db")
    if path.is_symlink():  # it has been followed
        raise StoreUnavailable(f"{path} is a link that leads to itself: name a file")
    if is_special(path):
        raise StoreUnavailable(f"{path} is a pipe, a socket or a device: name a file")


def why_read_only(path: Path) -> str | None:
    """Return why nothing can be written to the store in this file; None if it can, or is not there.

    It can be read all the same.
    """
    if not path.exists():
        return None
    if not os.access(path.parent, os.W_OK):  # where the log and the lock lie
        return _read_only_directory(path)
    return None if os.access(path, os.W_OK) else f"{path}: {_ADVICE[sqlite3.SQLITE_READONLY]}"


def is_unwritable(path: Path) -> bool:
    """Return whether nobody may write to the store in this file, whoever they are: an archive."""
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return True
    return not all(place.stat().st_mode & _ANYBODY_WRITES for place in (path, path.parent))


def _read_only_directory(path: Path) -> str:
    return f"{path}: directory {path.parent} is read-only for this user"


def _refuse(path: Path, kind: str) -> None:
    what = f"{path} is on a file system ({kind}) that is not known to be a local disk"
    if os.environ.get(_ALLOW, "") in ("", "0"):
        raise StoreUnavailable(
            f"{what}, and on a network file system SQLite loses data: put it on a local disk, use"
            " PostgreSQL, or let `evolvent serve` on one machine keep it for all; where no other"
            f" machine ever opens it and its locks work, set {_ALLOW}=1"
        )
    if path not in _warned:
        _warned.add(path)
        _logger.warning("%s: as %s says, it is used all the same", what, _ALLOW)


_warned: set[Path] = set()


def filesystem(directory: Path, mounts: Path) -> str:
    """Return the type of the file system that holds `directory`; empty if it is not known.

    Args:
        directory: may be reached by links.
        mounts: the kernel's table: number of a mount, of the one it lies on, and where; its type.
    """
    try:
        table = mounts.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    real = directory.resolve()
    found = []
    for line in table.splitlines():
        fields, _, source = line.partition(" - ")
        number, below, _, _, point, *_ = fields.split()
        place = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), point))
        if real.is_relative_to(place):
            # The first of all lies on itself.
            found.append(
                (len(place.parts), number, "" if below == number else below, source.split()[0])
            )
    # As the kernel walks: onto the next mount on the way that lies on the one where it is. One that
    # another has been mounted over, wherever on the way, is not met.
    numbers = {number for _, number, _, _ in found}
    here, kind = None, ""
    while onto := sorted(
        mount for mount in found if (mount[2] == here if here else mount[2] not in numbers)
    ):
        _, here, _, kind = onto[0]
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

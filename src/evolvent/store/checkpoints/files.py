"""Trees of files: hashing, syncing, removing. Knows nothing of addresses or studies."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from evolvent.errors import CheckpointError

_READ_ONLY = ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
_THREADS = 8
_BLOCK = 1 << 17  # one buffer for a file: a fresh megabyte costs as much time as its hash

_HINTS = {
    errno.ENOSPC: "the disk is full: free some space, then resume",
    errno.EDQUOT: "the disk quota is used up: free some space, then resume",
    errno.EROFS: "the file system is read-only: choose a store on a writable one",
    errno.EACCES: "no permission: choose a directory that you may write to",
    errno.EPERM: "no permission: choose a directory that you may write to",
    errno.ENOTDIR: "a part of the path is a file: move it out of the way",
}


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file, or an empty directory when the name ends with a slash.

    Attributes:
        name: relative, with slashes.
        size: in bytes.
        sha256: hexadecimal; of no bytes for a directory.
    """

    name: str
    size: int
    sha256: str


def translate_error(error: OSError, *, doing: str, path: Path) -> CheckpointError:
    """Return the error of ours that says what failed where and what to do."""
    cause = _HINTS.get(error.errno or 0, error.strerror or str(error))
    return CheckpointError(f"cannot {doing} {error.filename or path}: {cause}")


def read(directory: Path) -> list[FileEntry]:
    """Hash every file below `directory`; sorted by name.

    Raises:
        CheckpointError: there is a link or a special file; named.
        OSError: as it came.
    """
    return [_entry(directory, name) for name in listing(directory)]


def freeze(directory: Path, *, sync: bool) -> list[FileEntry]:
    """As `read`, and make every file read-only and, if asked, durable together with its name."""
    names = listing(directory)
    if sync and len(names) > 1:
        # Syncs that wait at the same time share one commit of the file system's journal.
        with ThreadPoolExecutor(min(_THREADS, len(names))) as pool:
            entries = list(pool.map(lambda name: _frozen(directory, name, sync=True), names))
    else:
        entries = [_frozen(directory, name, sync=sync) for name in names]
    if sync:
        folders = {os.path.dirname(name.rstrip("/")) for name in names}
        for folder in sorted(_with_parents(folders), reverse=True):
            sync_directory(directory / folder)
    return entries


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path, *, sync: bool) -> None:
    """Make a directory and what is missing above it, each name durable if asked."""
    try:
        directory.mkdir()
    except FileExistsError:
        return
    except FileNotFoundError:
        make_directory(directory.parent, sync=sync)
        make_directory(directory, sync=sync)
        return
    if sync:
        sync_directory(directory.parent)


def sizes(directory: Path) -> dict[str, int]:
    """Return the sizes in bytes of all files below `directory` by relative name."""
    files = (name for name in listing(directory) if not name.endswith("/"))
    return {name: (directory / name).stat().st_size for name in files}


def remove(path: Path) -> int:
    """Delete a file or a tree, whoever else may be deleting it; return the bytes freed.

    Raises:
        OSError: something could not be deleted; as much as possible was.
    """
    try:
        info = path.lstat()
        if not stat.S_ISDIR(info.st_mode):
            path.unlink()
            return info.st_size
        if info.st_mode & stat.S_IRWXU != stat.S_IRWXU:
            path.chmod(stat.S_IRWXU)  # training code had protected it
        with os.scandir(path) as found:
            inside = [Path(entry.path) for entry in found]
    except FileNotFoundError:
        return 0
    freed = sum(remove(child) for child in inside)
    with suppress(FileNotFoundError):
        path.rmdir()
    return freed


def list_dir(directory: Path) -> Iterator[Path]:
    """Yield what was in a directory when it was first asked; nothing if there is none."""
    try:
        names = os.listdir(directory)  # a snapshot: others change the directory
    except FileNotFoundError:
        return
    for name in names:
        yield directory / name


def identity(directory: Path) -> tuple[int, int] | None:
    """Tell one directory from another that takes its place; None when there is none."""
    try:
        info = directory.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return info.st_ino, info.st_ctime_ns


def changed_ns(path: Path) -> int:
    """Return when it was changed: now, if somebody is just removing it."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return time.time_ns()


def listing(directory: Path) -> list[str]:
    """Return the relative names of all files below, and of empty directories with a slash."""
    return sorted(_walk(directory, ""))


def _walk(directory: Path, prefix: str) -> Iterator[str]:
    with os.scandir(directory) as found:
        entries = list(found)
    if not entries and prefix:
        yield prefix
    for entry in entries:
        if entry.is_file(follow_symlinks=False):
            yield prefix + entry.name
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(directory / entry.name, f"{prefix}{entry.name}/")
        else:
            kind = "a symbolic link" if entry.is_symlink() else "a special file"
            raise CheckpointError(
                f"{entry.path} is {kind}: a checkpoint holds plain files and directories only, "
                "so that it means the same anywhere; save a copy of the file"
            )


def _entry(directory: Path, name: str) -> FileEntry:
    if name.endswith("/"):
        return FileEntry(name, 0, hashlib.sha256().hexdigest())
    with (directory / name).open("rb", buffering=0) as file:
        return _hashed(file.fileno(), name)


def _frozen(directory: Path, name: str, *, sync: bool) -> FileEntry:
    if name.endswith("/"):
        return _entry(directory, name)
    with (directory / name).open("rb", buffering=0) as file:
        descriptor = file.fileno()
        entry = _hashed(descriptor, name)
        os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & _READ_ONLY)
        if sync:
            os.fsync(descriptor)
    return entry


def _hashed(descriptor: int, name: str) -> FileEntry:
    digest, size, block = hashlib.sha256(), 0, memoryview(bytearray(_BLOCK))
    while n := os.readv(descriptor, (block,)):
        digest.update(block[:n])
        size += n
    return FileEntry(name, size, digest.hexdigest())


def _with_parents(folders: set[str]) -> set[str]:
    above = {""}
    for folder in folders:
        parts = folder.split("/")
        above.update("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return above

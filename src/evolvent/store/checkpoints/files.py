"""Trees of files: hashing, syncing, removing. Knows nothing of addresses or studies."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from evolvent.errors import NO_SPACE, CheckpointError, StorageFull
from evolvent.store.checkpoints.hashes import HASHES

_READ_ONLY = ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
_THREADS = 8
_WORTH_A_POOL = 1 << 23  # bytes: below, two threads of one interpreter cost more than they hide
_BEGIN_WRITING = 2  # SYNC_FILE_RANGE_WRITE of Linux
_LIBC = ctypes.CDLL(None)
_OF_NOTHING = hashlib.sha256().hexdigest()

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
    kind = StorageFull if error.errno in NO_SPACE else CheckpointError
    return kind(f"cannot {doing} {error.filename or path}: {cause}")


def read(directory: Path) -> list[FileEntry]:
    """Hash every file below `directory`; sorted by name.

    Raises:
        CheckpointError: there is a link or a special file; named.
        OSError: as it came.
    """
    return _hashed(directory, listing(directory))


def freeze(directory: Path, *, sync: bool) -> list[FileEntry]:
    """As `read`, and make every file read-only and, if asked, durable together with its name."""
    names = listing(directory)
    paths = [f"{directory}/{name}" for name in names if not name.endswith("/")]
    # Before they are hashed: a new mode is a change, after which no hash would be known.
    n_bytes = sum(map(_make_read_only, paths))
    if not sync:
        return _hashed(directory, names)
    if len(paths) > 1 or n_bytes >= _WORTH_A_POOL:
        # Syncs that wait at the same time share one commit of the file system's journal, and the
        # hashing goes on meanwhile.
        with ThreadPoolExecutor(min(_THREADS, len(paths))) as pool:
            synced = [pool.submit(sync_path, path) for path in paths]
            entries = _hashed(directory, names)
        for done in synced:
            done.result()
    else:
        for path in paths:
            _begin_to_write(path)  # the disk goes on meanwhile
        entries = _hashed(directory, names)
        for path in paths:
            sync_path(path)
    # The files before the folders that name them, and the deepest folder first.
    for folder in sorted(_folders(names), reverse=True):
        sync_path(directory / folder)
    return entries


def sync_path(path: str | Path) -> None:
    """Make the bytes of a file durable, or the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _begin_to_write(path: str) -> None:
    # Python has no name for it; where the system has none either, the sync does all the work.
    begin = getattr(_LIBC, "sync_file_range", None)
    if begin is not None:
        descriptor = os.open(path, os.O_RDONLY)
        begin(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), _BEGIN_WRITING)
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
        sync_path(directory.parent)


def remove(path: str | Path) -> int:
    """Delete a file or a tree, whoever else may be deleting it; return the bytes freed.

    Raises:
        OSError: something could not be deleted; as much as possible was.
    """
    # Workers, collections and people remove the same things at the same time: what is gone
    # already was removed as asked.
    try:
        info = os.lstat(path)
        if not stat.S_ISDIR(info.st_mode):
            _unlink(path, info)
            return info.st_size
        if info.st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.chmod(path, stat.S_IRWXU)  # training code had protected it
        with os.scandir(path) as found:
            inside = [entry.path for entry in found]
    except FileNotFoundError:
        return 0
    freed = sum(map(remove, inside))
    with suppress(FileNotFoundError):  # somebody else was faster
        os.rmdir(path)
    return freed


def _unlink(path: str | Path, info: os.stat_result) -> None:
    if info.st_nlink == 1 or HASHES.get(info) is None:
        os.unlink(path)
        return
    with open(path, "rb", buffering=0) as file:  # to see what becomes of its other names
        os.unlink(path)
        HASHES.carry(info, os.fstat(file.fileno()))


def link_tree(source: Path, target: Path) -> None:
    """Give the files of a tree further names below `target`, or copy them where that cannot be.

    Raises:
        OSError: as it came, or the one of `shutil` that tells of many.
    """
    shutil.copytree(source, target, copy_function=_link, symlinks=True, dirs_exist_ok=True)


def _link(source: str, target: str, *, follow_symlinks: bool = True) -> None:  # noqa: ARG001 - as shutil calls it
    before = os.stat(source, follow_symlinks=False)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
    else:
        HASHES.carry(before, os.stat(target, follow_symlinks=False))


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
        info = os.stat(directory)
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
    names: list[str] = []
    _list_into(names, directory, "")
    return sorted(names)


def _list_into(names: list[str], directory: str | Path, prefix: str) -> None:
    # Listed before any is looked into, so that no more than one directory is open at a time.
    with os.scandir(directory) as found:
        entries = list(found)
    if not entries and prefix:
        names.append(prefix)
    for entry in entries:
        if entry.is_file(follow_symlinks=False):
            names.append(prefix + entry.name)
        elif entry.is_dir(follow_symlinks=False):
            _list_into(names, entry.path, f"{prefix}{entry.name}/")
        else:
            kind = "a symbolic link" if entry.is_symlink() else "a special file"
            raise CheckpointError(
                f"{entry.path} is {kind}: a checkpoint holds plain files and directories only, "
                "so that it means the same anywhere; save a copy of the file"
            )


def _hashed(directory: Path, names: Sequence[str]) -> list[FileEntry]:
    def entry(name: str) -> FileEntry:
        if name.endswith("/"):
            return FileEntry(name, 0, _OF_NOTHING)
        return FileEntry(name, *HASHES.hash(f"{directory}/{name}"))

    if len(names) < 2 or sum(os.stat(directory / n).st_size for n in names) < _WORTH_A_POOL:
        return list(map(entry, names))
    with ThreadPoolExecutor(min(len(names), os.cpu_count() or 1, _THREADS)) as pool:
        return list(pool.map(entry, names))


def _folders(names: Sequence[str]) -> set[str]:
    """Return the relative names of the folders that these names are in."""
    folders = {""}
    for name in names:
        folder = name.rstrip("/")
        while folder := folder.rpartition("/")[0]:
            folders.add(folder)
    return folders


def _make_read_only(path: str) -> int:
    before = os.stat(path)
    os.chmod(path, stat.S_IMODE(before.st_mode) & _READ_ONLY)
    if HASHES.get(before) is not None:
        HASHES.carry(before, os.stat(path))
    return before.st_size

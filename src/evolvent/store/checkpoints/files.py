"""Trees of files: hashing, syncing, removing. Knows nothing of addresses or studies."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from evolvent.errors import NO_SPACE, CheckpointError, StorageFull
from evolvent.store.checkpoints.hashes import HASHES
from evolvent.validation import cut

_READ_ONLY = ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
_THREADS = 8
_WORTH_A_POOL = 1 << 23  # bytes: below, two threads of one interpreter cost more than they hide
_AT_ONCE, _COPIED = 1 << 30, 1 << 20
_BEGIN_WRITING = 2  # SYNC_FILE_RANGE_WRITE of Linux
_LIBC = ctypes.CDLL(None)
_OF_NOTHING = hashlib.sha256().hexdigest()

_FORBIDDEN = (
    "no permission: choose a directory that you may write to, or, where a group trains together, "
    "have its owner let the group write: chmod g+w, and umask 002 for all"
)
_HINTS = {
    errno.ENOSPC: "the disk is full: free some space, then resume",
    errno.EDQUOT: "the disk quota is used up: free some space, then resume",
    errno.EROFS: "the file system is read-only: choose a store on a writable one",
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.ENOTDIR: "a part of the path is a file: move it out of the way",
}


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file, a symbolic link, or an empty directory when the name ends with a slash.

    Attributes:
        name: relative, with slashes.
        size: in bytes; 0 for a link or directory.
        sha256: hexadecimal; of no bytes for a link or directory.
        link: what a link says; None for what is none.
    """

    name: str
    size: int
    sha256: str
    link: str | None = None

    @property
    def is_file(self) -> bool:
        return self.link is None and not self.name.endswith("/")

    @classmethod
    def empty(cls, name: str, *, link: str | None = None) -> FileEntry:
        """Return a link or an empty directory."""
        return cls(name, 0, _OF_NOTHING, link)


def leads_out(name: str, link: str) -> bool:
    """Whether a link of this name may lead out of its checkpoint, whatever else is in there.

    Only its first steps may go up: after the name of another link, `..` is not where it seems.
    Nothing may lie below a link by name, or its own folder is not where it seems either.
    """
    steps = [step for step in link.split("/") if step not in {"", "."}]
    up = len(list(takewhile("..".__eq__, steps)))
    absolute = not link or link.startswith("/") or "\0" in link
    return absolute or up > name.count("/") or ".." in steps[up:]


def translate_error(error: OSError, *, doing: str, path: Path) -> CheckpointError:
    """Return the error of ours that says what failed where and what to do."""
    cause = _HINTS.get(error.errno or 0, error.strerror or str(error))
    kind = StorageFull if error.errno in NO_SPACE else CheckpointError
    return kind(f"cannot {doing} {error.filename or path}: {cause}")


def read(directory: Path) -> list[FileEntry]:
    """Hash every file below `directory`; sorted by name.

    Raises:
        CheckpointError: there is a link that leads out or a special file; named.
        OSError: as it came.
    """
    return _hashed(directory, listing(directory))


def freeze(directory: Path, *, sync: bool) -> list[FileEntry]:
    """As `read`, and make every file read-only and, if asked, durable together with its name."""
    names = listing(directory)
    paths = [f"{directory}/{name}" for name in names if _is_file(name, names)]
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


def protect(directory: str | Path, names: Iterable[str]) -> None:
    """Let the owner add and remove nothing in the folders of these names, below `directory`."""
    for folder in _folders(names) - {""}:
        forbid_writing(f"{directory}/{folder}")


def forbid_writing(directory: str | Path) -> None:
    """Let the owner add and remove nothing in it.

    What a group may do stays: where several users share a store, each collects what others saved.
    """
    os.chmod(directory, stat.S_IMODE(os.stat(directory).st_mode) & ~stat.S_IWUSR)


def rename(source: str | Path, target: str | Path) -> None:
    """Rename a directory, also one that its owner may not write to."""
    try:
        os.rename(source, target)
    except PermissionError:  # into another folder the system asks for it, for the sake of its ".."
        os.chmod(source, stat.S_IMODE(os.stat(source).st_mode) | stat.S_IRWXU)
        os.rename(source, target)


def make_links(directory: Path, entries: Iterable[FileEntry]) -> None:
    """Make the links among these files, once all the others are there.

    So no file is ever written through one, whatever a stranger has listed.

    Raises:
        CheckpointError: one cannot be made; says where.
    """
    for entry in entries:
        if entry.link is None:
            continue
        place = directory / entry.name
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # made before; if not, it is found to be another
                os.symlink(entry.link, place)
        except OSError as e:
            raise translate_error(e, doing="make the link", path=place) from e


def copy_tree(source: str | Path, target: str | Path) -> None:
    """Copy what is in a directory into another one, where its owner may write to all of it.

    Modes other than that, and times, are those of the source; links stay links.

    Raises:
        OSError: as it came.
    """
    os.makedirs(target, exist_ok=True)
    with os.scandir(source) as found:
        entries = list(found)
    for entry in entries:
        place = os.path.join(target, entry.name)
        if os.path.islink(place):  # of an earlier copy, or of the user: nothing is written through
            os.unlink(place)
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), place)
        elif entry.is_dir():
            copy_tree(entry.path, place)
        else:
            _copy_file(entry.path, place)


def _copy_file(source: str, target: str) -> None:
    with open(source, "rb", buffering=0) as old, open(target, "wb", buffering=0) as new:
        # Within the kernel: Btrfs, XFS and others share the blocks, and copy nothing.
        with suppress(AttributeError, OSError):  # macOS; across file systems
            while os.copy_file_range(old.fileno(), new.fileno(), _AT_ONCE):
                pass
        shutil.copyfileobj(old, new, _COPIED)  # what it has left, mostly nothing
        info = os.fstat(old.fileno())
        os.fchmod(new.fileno(), stat.S_IMODE(info.st_mode) | stat.S_IWUSR)
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))


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
            with suppress(PermissionError):  # another user's, which a group may write to
                os.chmod(path, stat.S_IRWXU)  # sealed, or protected by training code
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


def listing(directory: Path) -> dict[str, str | None]:
    """Return relative names, in their order: files, links with what they say, empty directories.

    A directory's name ends with a slash.
    """
    names: dict[str, str | None] = {}
    _list_into(names, directory, "")
    return dict(sorted(names.items()))


def _list_into(names: dict[str, str | None], directory: str | Path, prefix: str) -> None:
    # Listed before any is looked into, so that no more than one directory is open at a time.
    with os.scandir(directory) as found:
        entries = list(found)
    if not entries and prefix:
        names[prefix] = None
    for entry in entries:
        if entry.is_file(follow_symlinks=False):
            names[prefix + entry.name] = None
        elif entry.is_dir(follow_symlinks=False):
            _list_into(names, entry.path, f"{prefix}{entry.name}/")
        elif entry.is_symlink():
            names[prefix + entry.name] = _inner_link(entry.path, prefix + entry.name)
        else:
            raise CheckpointError(
                f"{entry.path} is a special file: a checkpoint holds plain files, directories and "
                "links among them, so that it means the same anywhere; save a copy of the file"
            )


def _inner_link(path: str, name: str) -> str:
    link = os.readlink(path)
    if leads_out(name, link):
        raise CheckpointError(
            f"{path} is a symbolic link to {cut(link, 200)}, which may lead out of the checkpoint: "
            "link to what is in there by a relative path with .. at its beginning only, or save "
            "a copy of the file"
        )
    return link


def _is_file(name: str, listed: Mapping[str, str | None]) -> bool:
    return not name.endswith("/") and listed[name] is None


def _hashed(directory: Path, names: Mapping[str, str | None]) -> list[FileEntry]:
    def entry(name: str) -> FileEntry:
        if not _is_file(name, names):
            return FileEntry.empty(name, link=names[name])
        return FileEntry(name, *HASHES.hash(f"{directory}/{name}"))

    if len(names) < 2 or sum(os.lstat(directory / n).st_size for n in names) < _WORTH_A_POOL:
        return list(map(entry, names))
    with ThreadPoolExecutor(min(len(names), os.cpu_count() or 1, _THREADS)) as pool:
        return list(pool.map(entry, names))


def _folders(names: Iterable[str]) -> set[str]:
    """Return the relative names of the folders that these names are in, or stand for."""
    folders = {""}
    for folder in names:
        while folder := folder.rpartition("/")[0]:
            folders.add(folder)
    return folders


def _make_read_only(path: str) -> int:
    before = os.stat(path)
    os.chmod(path, stat.S_IMODE(before.st_mode) & _READ_ONLY)
    if HASHES.get(before) is not None:
        HASHES.carry(before, os.stat(path))
    return before.st_size

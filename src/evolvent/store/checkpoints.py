"""Checkpoints on disk: immutable directories named by what is in them."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from evolvent.errors import CheckpointDamaged, CheckpointError, CheckpointMissing
from evolvent.store import files as tree
from evolvent.store.files import Entry

_ADDRESS = re.compile(r"[0-9a-f]{64}")
_STAGED_AT = re.compile(r".*-([0-9a-f]{16})-[0-9a-f]{8}")
_DAMAGE = {errno.EIO, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EBADMSG, errno.EUCLEAN}
_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST}
_TRIES = 16

_logger = logging.getLogger("evolvent")


class Checkpoints:
    """The checkpoints of one study in one directory.

    A job writes into a private staging directory. `seal` hashes it, syncs it if asked, and renames
    it to its content address: whatever has an address is whole. Equal contents share an address.
    The address is a SHA-256 over names, sizes and hashes of the files, so it needs no manifest to
    be verified; the manifest beside it only names the file that is damaged.

    Any number of processes may call any method at the same time. A crash at any instant leaves
    nothing but directories in `staging` and `trash`, which `sweep` removes.

    Args:
        root: where they live; made when first needed.
        sync: survive a power cut: `seal` returns after the bytes and names are on disk.
    """

    def __init__(self, root: Path, *, sync: bool) -> None:
        self.root = root.absolute()  # training code may change the working directory
        self.sync = sync
        self._staging = self.root / "staging"
        self._objects = self.root / "objects"
        self._trash = self.root / "trash"

    def stage(self, label: str) -> Path:
        """Make and return a fresh private directory; `label` (job and attempt) only helps people.

        Raises:
            CheckpointError: the disk is full or read-only; says where.
        """
        plain = re.sub(r"[^\w.-]", "_", label)[:100]
        staged = self._staging / f"{plain}-{time.time_ns():016x}-{secrets.token_hex(4)}"
        try:
            tree.make_directory(staged, sync=False)
        except OSError as e:
            raise tree.explained(e, doing="make the directory", path=staged) from e
        return staged

    def seal(self, staged: Path) -> str:
        """Turn a staged directory into a checkpoint and return its address.

        Equal contents may be there already: then the staged directory stays where it is, to be
        sealed again should the other be collected before this one is reported; `drop` it then.

        Raises:
            CheckpointMissing: the staged directory is gone.
            CheckpointError: a link or special file, or the disk is full or read-only: says where.
        """
        if not staged.is_dir():
            raise CheckpointMissing(f"{staged} is gone: nothing to save; train the round again")
        try:
            entries = tree.freeze(staged, sync=self.sync)
            address = _address(entries)
            self._settle(staged, address, entries)
        except OSError as e:
            raise tree.explained(e, doing="save the checkpoint at", path=staged) from e
        return address

    def drop(self, staged: Path) -> None:
        """Remove a staged directory, if it is still there."""
        _remove(staged)

    def path(self, address: str) -> Path:
        """Return where the checkpoint of this address is or would be.

        Raises:
            CheckpointError: not an address.
        """
        if not _ADDRESS.fullmatch(address):
            raise CheckpointError(f"checkpoint: got {address!r:.100}, wanted 64 hexadecimal digits")
        return self._objects / address[:2] / address

    def __contains__(self, address: str) -> bool:
        return self.path(address).is_dir()

    def verify(self, address: str) -> Path:
        """Return the directory after checking every byte.

        Raises:
            CheckpointMissing: it is not there.
            CheckpointDamaged: names the file that is missing, added, or has other bytes.
        """
        path = self.path(address)
        try:
            entries = tree.read(path)
        except CheckpointError as e:
            raise CheckpointDamaged(f"checkpoint {address}: {e}") from e
        except OSError as e:
            if not path.is_dir():
                raise CheckpointMissing(f"checkpoint {address} is not at {path}") from e
            if e.errno in _DAMAGE:
                raise CheckpointDamaged(f"checkpoint {address}: {e.filename}: {e.strerror}") from e
            raise tree.explained(e, doing="read the checkpoint at", path=path) from e
        if _address(entries) != address:
            found = _difference(self._manifest(address), entries)
            raise CheckpointDamaged(f"checkpoint {address} at {path}: {found}")
        return path

    def files(self, address: str) -> dict[str, int]:
        """Return the sizes in bytes of its files by relative name.

        Raises:
            CheckpointMissing: it is not there.
        """
        path = self.path(address)
        try:
            return tree.sizes(path)
        except FileNotFoundError as e:
            raise CheckpointMissing(f"checkpoint {address} is not at {path}") from e

    def discard(self, addresses: Iterable[str]) -> None:
        """Make checkpoints unreachable at once (a rename): call under the store's write lock.

        What cannot be moved stays, with a warning, until a `sweep` succeeds: the log that no longer
        needs it has been written, so this is no reason to fail.
        """
        for address in addresses:
            try:
                self._move_away(address)
            except OSError as e:
                _logger.warning("%s", tree.explained(e, doing="discard", path=self.path(address)))

    def empty_trash(self) -> int:
        """Delete what was discarded; return the bytes freed. Needs no lock."""
        return sum(_remove(path) for path in _inside(self._trash))

    def sweep(self, keep: set[str], *, staged_before: float) -> int:
        """Delete what is not in `keep`; return bytes freed.

        Spared are checkpoints sealed and directories staged at or after `staged_before` (seconds
        since 1970): they may belong to a job that is about to be reported.
        """
        before_ns = int(staged_before * 1e9)
        found = [path for bucket in _inside(self._objects) for path in _inside(bucket)]
        doomed = [path for path in found if path.stem not in keep and _changed_ns(path) < before_ns]
        self.discard(path.name for path in doomed if _ADDRESS.fullmatch(path.name))
        strays = [path for path in doomed if not _ADDRESS.fullmatch(path.name)]
        staged = [path for path in _inside(self._staging) if _staged_ns(path) < before_ns]
        return sum(map(_remove, [*strays, *staged])) + self.empty_trash()

    def remove_all(self) -> None:
        """Delete the whole directory.

        Raises:
            CheckpointError: something could not be deleted.
        """
        for attempt in range(_TRIES):
            try:
                tree.remove(self.root)
                return
            except OSError as e:
                # A worker that has not noticed yet may still be writing in there.
                if e.errno not in _OCCUPIED or attempt == _TRIES - 1:
                    raise tree.explained(e, doing="delete", path=self.root) from e

    def _settle(self, staged: Path, address: str, entries: Sequence[Entry]) -> None:
        """Give the staged directory its address, unless sound equal contents have it already."""
        path = self.path(address)
        for _ in range(_TRIES):
            try:
                self.verify(address)
                os.utime(path)
            except CheckpointDamaged:
                self._move_away(address)
            except (CheckpointMissing, FileNotFoundError):
                pass  # never there, or collected while we looked
            else:
                break
            if self._renamed(staged, path):
                self._write_manifest(address, entries)
                break
        else:
            raise CheckpointError(f"{path}: others replace it faster than it can be saved")
        if self.sync:
            # Also for equal contents: whoever put them there may not have come so far yet.
            tree.sync_directory(path.parent)

    def _renamed(self, staged: Path, path: Path) -> bool:
        tree.make_directory(path.parent, sync=self.sync)
        os.utime(staged)  # the time of sealing, for `sweep`
        try:
            staged.rename(path)
        except OSError as e:
            if e.errno not in _OCCUPIED:
                raise
            return False  # equal contents came in between
        return True

    def _move_away(self, address: str) -> None:
        path = self.path(address)
        target = self._trash / f"{address}-{secrets.token_hex(4)}"
        try:
            path.rename(target)
        except FileNotFoundError:
            if not path.is_dir():
                return  # somebody else did it
            tree.make_directory(self._trash, sync=False)
            path.rename(target)
        path.with_suffix(".json").unlink(missing_ok=True)

    def _write_manifest(self, address: str, entries: Sequence[Entry]) -> None:
        content = json.dumps({entry.name: [entry.size, entry.sha256] for entry in entries})
        try:
            self.path(address).with_suffix(".json").write_text(content, encoding="ascii")
        except OSError as e:
            _logger.warning("%s", tree.explained(e, doing="write the manifest of", path=self.root))

    def _manifest(self, address: str) -> dict[str, Entry] | None:
        try:
            content = json.loads(self.path(address).with_suffix(".json").read_text("ascii"))
            entries = {name: Entry(name, size, sha) for name, (size, sha) in content.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return None
        return entries if _address([entries[name] for name in sorted(entries)]) == address else None


def _address(entries: Iterable[Entry]) -> str:
    digest = hashlib.sha256()
    for entry in entries:
        # A name can hold any byte but NUL, so no two lists of files give the same bytes.
        digest.update(os.fsencode(entry.name) + f"\0{entry.size}\0{entry.sha256}\n".encode())
    return digest.hexdigest()


def _difference(wanted: dict[str, Entry] | None, found: Sequence[Entry]) -> str:
    if wanted is None:
        return "the files are not those that were saved (no manifest says which)"
    have = {entry.name: entry for entry in found}
    if missing := sorted(wanted.keys() - have.keys()):
        return f"{missing[0]!r} is missing"
    if added := sorted(have.keys() - wanted.keys()):
        return f"{added[0]!r} was added"
    name = min(name for name in wanted if wanted[name] != have[name])
    if have[name].size != wanted[name].size:
        return f"{name!r} has {have[name].size} bytes instead of {wanted[name].size}"
    return f"{name!r} has other bytes than were saved"


def _inside(directory: Path) -> Iterator[Path]:
    try:
        names = os.listdir(directory)  # a snapshot: others change the directory
    except FileNotFoundError:
        return
    for name in names:
        yield directory / name


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return time.time_ns()  # somebody else is just removing it


def _staged_ns(path: Path) -> int:
    """When it was staged: from its name, since the job's own files renew the time of change."""
    match = _STAGED_AT.fullmatch(path.name)
    return int(match[1], 16) if match else _changed_ns(path)


def _remove(path: Path) -> int:
    try:
        return tree.remove(path)
    except OSError as e:
        _logger.warning("%s", tree.explained(e, doing="delete", path=path))
        return 0

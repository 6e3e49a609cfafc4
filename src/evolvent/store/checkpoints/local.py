"""Checkpoints on disk: immutable directories named by what is in them."""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from evolvent.errors import CheckpointDamaged, CheckpointError, CheckpointMissing
from evolvent.store.checkpoints import files as tree
from evolvent.store.checkpoints import manifest
from evolvent.store.checkpoints.files import FileEntry
from evolvent.validation import cut

_ADDRESS = re.compile(r"[0-9a-f]{64}")
_STAGED_AT = re.compile(r".*-([0-9a-f]{16})-[0-9a-f]{8}")
_DAMAGE = {errno.EIO, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EBADMSG, errno.EUCLEAN}
_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST}
_NOT_A_LABEL = re.compile(r"[^\w.-]")
_TRIES = 16

_logger = logging.getLogger("evolvent")


class LocalCheckpoints:
    """The checkpoints of one study in one directory.

    A job writes into a private staging directory. `seal` hashes it, syncs it if asked, and renames
    it to its content address: whatever has an address is whole. Equal contents share an address.
    The address is a SHA-256 over names, sizes and hashes of the files, so it needs no manifest to
    be verified; the manifest beside several files only names the one that is damaged. What is
    sealed its owner may not write to, unless that is root.

    Any number of processes may call any method at the same time. A crash at any instant leaves
    nothing but directories in `staging` and `trash`, which `sweep` removes. What `CheckpointStore`
    promises is not said again.

    Args:
        root: where they live; made when first needed.
        sync: survive a power cut: `seal` returns after the bytes and names are on disk.
        clock: tells the seconds since 1970 as `sweep` understands them.
    """

    def __init__(self, root: Path, *, sync: bool, clock: Callable[[], float] = time.time) -> None:
        self.root = root.absolute()  # training code may change the working directory
        self.sync = sync
        self._clock = clock
        self._staging = self.root / "staging"
        self._objects = self.root / "objects"
        self._trash = self.root / "trash"
        self._known_buckets: set[str] = set()
        self._emptied = False

    def stage(self, label: str, *, spare_s: float = 0.0) -> Path:
        """Make and return a fresh private directory."""
        plain = _NOT_A_LABEL.sub("_", label)[:100]
        young_until = int((self._clock() + spare_s) * 1e9)
        staged = self._staging / f"{plain}-{young_until:016x}-{secrets.token_hex(4)}"
        try:
            with suppress(FileNotFoundError):  # the first one, or somebody has cleared up
                os.mkdir(staged)
                return staged
            tree.make_directory(self._staging, sync=self.sync)
            os.mkdir(staged)
        except OSError as e:
            raise tree.translate_error(e, doing="make the directory", path=staged) from e
        return staged

    def seal(self, staged: Path) -> str:
        """Turn a staged directory into a checkpoint; where equal contents are, it stays staged."""
        return self.publish(staged, self.freeze(staged))

    def freeze(self, staged: Path) -> list[FileEntry]:
        """Hash the files of a staged directory and make them read-only and, if asked, durable.

        Raises:
            CheckpointMissing: the staged directory is gone.
            CheckpointError: a link that leads out or special file, or the disk fails: says where.
        """
        if not staged.is_dir():
            raise CheckpointMissing(f"{staged} is gone: nothing to save; train the round again")
        try:
            return tree.freeze(staged, sync=self.sync)
        except OSError as e:
            raise tree.translate_error(e, doing="save the checkpoint at", path=staged) from e

    def publish(self, staged: Path, entries: Sequence[FileEntry]) -> str:
        """Give a staged directory the address of its frozen files; errors as with `seal`."""
        address = manifest.address_of(entries)
        try:
            self._rename_to_address(staged, address, entries)
        except OSError as e:
            raise tree.translate_error(e, doing="save the checkpoint at", path=staged) from e
        return address

    def drop(self, staged: Path) -> None:
        """Remove a staged directory, if it is still there."""
        _remove(staged)

    def path(self, address: str) -> Path:
        """Return where the checkpoint of this address is or would be."""
        return Path(self._location(address))

    def __contains__(self, address: str) -> bool:
        return os.path.isdir(self._location(address))

    def fetch(self, address: str) -> Path:
        """Return the directory, unread."""
        path = self.path(address)
        if not path.is_dir():
            raise CheckpointMissing(f"checkpoint {address} is not at {path}")
        return path

    def _location(self, address: str) -> str:
        if not _ADDRESS.fullmatch(address):
            raise CheckpointError(
                f"checkpoint: got {cut(address, 100)}, wanted 64 hexadecimal digits"
            )
        return f"{self._objects}/{address[:2]}/{address}"

    def verify(self, address: str) -> Path:
        """Return the directory after checking every byte.

        Bytes that this run has hashed, and that nobody has touched since, are not read again: what
        a disk loses silently meanwhile is found by another run, and at a second attempt.
        """
        path = self.path(address)
        try:
            # Nobody locks what is read: it counts only if it was the same directory throughout.
            while (before := tree.identity(path)) is not None:
                damage = self._damage(path)
                if damage is None:
                    return path
                if tree.identity(path) == before:
                    raise damage
                # Others have discarded or replaced it while we looked: look again.
        except OSError as e:
            raise tree.translate_error(e, doing="read the checkpoint at", path=path) from e
        raise CheckpointMissing(f"checkpoint {address} is not at {path}")

    def addresses(self) -> list[str]:
        """Return the addresses of all that are there."""
        found = (path for bucket in tree.list_dir(self._objects) for path in tree.list_dir(bucket))
        return [path.name for path in found if _ADDRESS.fullmatch(path.name)]

    def files(self, address: str) -> dict[str, int]:
        """Return the sizes in bytes of its files by relative name."""
        path = self.path(address)
        try:
            return {
                name: (path / name).stat().st_size if link is None else 0
                for name, link in tree.listing(path).items()
                if not name.endswith("/")
            }
        except (FileNotFoundError, NotADirectoryError) as e:
            raise CheckpointMissing(f"checkpoint {address} is not at {path}") from e
        except OSError as e:
            raise tree.translate_error(e, doing="read the checkpoint at", path=path) from e

    def discard(self, addresses: Iterable[str]) -> list[str]:
        """Make checkpoints unreachable at once (a rename): call under the store's write lock.

        Returns where they are now, as far as they were there: to be deleted without the lock.
        What cannot be moved stays, with a warning, until a `sweep` succeeds: the log that no longer
        needs it has been written, so this is no reason to fail.
        """
        discarded = []
        for address in addresses:
            try:
                discarded.append(self._move_away(address))
            except OSError as e:
                _logger.warning(
                    "%s", tree.translate_error(e, doing="discard", path=self.path(address))
                )
        return discarded

    def empty_trash(self, discarded: Iterable[str | Path] | None = None) -> int:
        """Delete what was discarded, by default all; return the bytes freed. Needs no lock."""
        # The first time all in any case: who was killed, or could not, has left something there.
        if discarded is None or not self._emptied:
            discarded, self._emptied = tree.list_dir(self._trash), True
        return sum(map(_remove, discarded))

    def sweep(self, keep: set[str], *, staged_before: float) -> int:
        """Delete what is not in `keep`; return bytes freed.

        Spared are checkpoints sealed and directories staged at or after `staged_before` (seconds
        since 1970): they may belong to a job that is about to be reported.
        """
        before_ns = int(staged_before * 1e9)
        # A worker may seal equal contents between the look at their age and the rename: then its
        # report finds them missing, and it seals what it has staged again.
        found = [path for bucket in tree.list_dir(self._objects) for path in tree.list_dir(bucket)]
        unwanted = [path for path in found if path.stem not in keep]
        doomed = [path for path in unwanted if tree.changed_ns(path) < before_ns]
        self.discard(path.name for path in doomed if _ADDRESS.fullmatch(path.name))
        strays = [path for path in doomed if not _ADDRESS.fullmatch(path.name)]
        staged = [path for path in tree.list_dir(self._staging) if _staged_ns(path) < before_ns]
        return sum(map(_remove, [*strays, *staged])) + self.empty_trash()

    def remove_all(self) -> None:
        """Delete the whole directory."""
        tries = _TRIES  # a worker that has not noticed yet may still be writing in there
        while self.root.exists():
            try:
                tree.remove(self.root)
            except OSError as e:
                tries -= 1
                if e.errno not in _OCCUPIED or tries == 0:
                    raise tree.translate_error(e, doing="delete", path=self.root) from e

    def _damage(self, path: Path) -> CheckpointDamaged | None:
        """Return what is wrong with the directory of a checkpoint, as it looks just now."""
        address = path.name
        try:
            entries = tree.read(path)
        except CheckpointError as e:
            return CheckpointDamaged(f"checkpoint {address}: {e}")
        except OSError as e:
            if e.errno not in _DAMAGE:
                raise
            return CheckpointDamaged(f"checkpoint {address}: {e.filename or path}: {e.strerror}")
        if manifest.address_of(entries) == address:
            return None
        found = manifest.damage(path, address, entries)
        return CheckpointDamaged(f"checkpoint {address} at {path}: {found}")

    def _rename_to_address(self, staged: Path, address: str, entries: Sequence[FileEntry]) -> None:
        """Give the staged directory its address, unless sound equal contents have it already."""
        # Texts, not paths, as in all that a round of a few milliseconds would notice.
        location = self._location(address)
        bucket = os.path.dirname(location)
        # A known one is there, unless somebody has cleared up.
        is_known = bucket in self._known_buckets and os.path.isdir(bucket)
        if not is_known:
            if not os.path.isdir(self._objects):
                tree.make_directory(self._objects, sync=self.sync)
            tree.make_directory(Path(bucket), sync=False)
        while not self._try_rename(staged, location, entries):
            if self.touch_if_intact(address):
                break
        else:
            # Only now, as a rename needs the right to write. A crash in between does no harm: who
            # writes there is found out all the same.
            with suppress(FileNotFoundError):  # discarded already
                tree.forbid_writing(location)
            if len(entries) > 1:  # of a single file the address says nearly all
                manifest.write(f"{location}.json", entries)
        if self.sync:
            tree.sync_path(bucket)
            # Once also what others have made: they may not have come so far yet.
            if not is_known:
                tree.sync_path(self._objects)
        # Only now: other threads take the name of a known one for durable.
        self._known_buckets.add(bucket)

    def _try_rename(self, staged: Path, location: str, entries: Sequence[FileEntry]) -> bool:
        """Give the staged directory its name; False if something has that already."""
        try:
            tree.protect(staged, [entry.name for entry in entries])
            # Before it has an address: a sweep at the very next moment must find it young.
            self._make_young(staged)
            # After the syncs of its files and before that of its name: whatever a power cut
            # leaves, an address is of whole contents.
            tree.rename(staged, location)
        except OSError as e:
            if e.errno not in _OCCUPIED and not os.path.lexists(location):
                raise
            return False
        return True

    def _make_young(self, path: Path) -> None:
        """Note the time of sealing, for `sweep`."""
        now_ns = int(self._clock() * 1e9)
        try:
            os.utime(path, ns=(now_ns, now_ns))
        except PermissionError:  # another user's: that it is of now is all that may be said
            os.utime(path)

    def touch_if_intact(self, address: str) -> bool:
        """Whether sound contents are there, now as young as if they had just been sealed."""
        try:
            self._make_young(self.verify(address))
        except CheckpointDamaged:
            # Sound contents are about to take its place, and a rename needs it to be free.
            _remove(self._move_away(address))
        except (CheckpointMissing, FileNotFoundError):
            pass  # never there, or discarded while we looked
        else:
            return True
        return False

    def _move_away(self, address: str) -> str:
        # A rename and not a removal: nobody finds half of it, and the lock is held for no longer.
        location = self._location(address)
        target = f"{self._trash}/{address}-{secrets.token_hex(4)}"
        with suppress(FileNotFoundError):  # somebody else did it
            try:
                tree.rename(location, target)
            except FileNotFoundError:  # or it is the first to go
                tree.make_directory(self._trash, sync=False)
                tree.rename(location, target)
            os.unlink(f"{location}.json")
        return target


def _staged_ns(path: Path) -> int:
    """When it was staged: from its name, since the job's own files renew the time of change."""
    match = _STAGED_AT.fullmatch(path.name)
    return int(match[1], 16) if match else tree.changed_ns(path)


def _remove(path: str | Path) -> int:
    try:
        return tree.remove(path)
    except OSError as e:
        _logger.warning("%s", tree.translate_error(e, doing="delete", path=Path(path)))
        return 0

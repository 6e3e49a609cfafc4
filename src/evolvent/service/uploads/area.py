"""Uploads under way, on disk: they survive the service, and are nothing until they are sealed."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from evolvent.errors import (
    CheckpointDamaged,
    CheckpointError,
    CheckpointTooLarge,
    StorageFull,
    UploadConflict,
)
from evolvent.service.settings import ServiceSettings
from evolvent.service.uploads.writer import UploadWriter, end_writers, join_seal, recently_sealed
from evolvent.store.checkpoints import files as tree
from evolvent.store.checkpoints import manifest
from evolvent.store.checkpoints.files import FileEntry
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.codec.fields import Malformed
from evolvent.store.codec.file_list import files_from_json, files_to_json
from evolvent.store.codec.strict_json import encode, strict_json

_PREFIX, _LIST, _TREE = "upload-", "files.json", "tree"
_ID_DIGITS = 32
_NUMBER = re.compile(rf"[0-9a-f]{{{_ID_DIGITS}}}")
_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST}
_MAKE_S = 60.0


class Upload:
    """One checkpoint that is being sent: a directory in the staging area of all of its study.

    One to which nothing was sent for `upload_idle_s` seconds goes when the next begins, or with a
    collection.

    Raises:
        UploadConflict: there cannot be one of this number.
    """

    def __init__(
        self, checkpoints: LocalCheckpoints, settings: ServiceSettings, number: str
    ) -> None:
        if not _NUMBER.fullmatch(number):
            raise _gone(number)
        self.number = number
        self._checkpoints = checkpoints
        self._settings = settings
        self._directory = checkpoints.root / "staging" / f"{_PREFIX}{number}"
        self._tree = self._directory / _TREE

    @classmethod
    def begin(
        cls,
        checkpoints: LocalCheckpoints,
        settings: ServiceSettings,
        key: str,
        entries: Sequence[FileEntry],
    ) -> Upload | None:
        """Return the upload of this key, begun if there is none; None when nothing is lacking.

        Connections that still send to it are heard no more: whoever asks has lost them.

        Raises:
            CheckpointTooLarge: more bytes than are taken; names the limit.
            CheckpointError: the disk has no room for it.
            UploadConflict: the key was used for other files.
        """
        size, most = sum(entry.size for entry in entries), settings.max_checkpoint_bytes
        if size > most:
            raise CheckpointTooLarge(
                f"files: {size} bytes together, above the limit of this service, {most} bytes a "
                "checkpoint: save less, or let `evolvent serve --max-checkpoint-size` take more",
                field="files",
            )
        if checkpoints.touch_if_intact(manifest.address_of(entries)):
            return None
        upload = cls(checkpoints, settings, hashlib.sha256(key.encode()).hexdigest()[:_ID_DIGITS])
        upload._drop_expired()
        # Two may come here at once, of one key: the rename in `_make` lets one through, and the
        # other finds the same files there, or refuses.
        if not upload._directory.exists():
            upload._make(entries)
        if upload.entries() != tuple(entries):
            raise UploadConflict("key: was used for other files: make a new one", field="key")
        end_writers(upload._directory)
        upload._touch()
        return upload

    def entries(self) -> tuple[FileEntry, ...]:
        """Return the files that are to come.

        Raises:
            UploadConflict: the upload is gone.
        """
        path = self._directory / _LIST
        try:
            return _cached_entries(path, path.stat().st_ino)
        except (OSError, Malformed) as e:
            raise _gone(self.number) from e

    def offsets(self) -> list[int]:
        """Return how many bytes of each file are there."""
        return [self._size(entry) for entry in self.entries()]

    def drop(self) -> None:
        """Remove it.

        Raises:
            UploadConflict: it is gone.
        """
        self.entries()
        self._checkpoints.drop(self._directory)

    def receive(self, index: int, offset: int) -> UploadWriter:
        """Open a file to be written on from `offset`.

        Raises:
            UploadConflict: that is not where it ends, or another connection is writing it.
            CheckpointError: the disk is full; says where.
        """
        entries = self.entries()
        if index >= len(entries) or entries[index].name.endswith("/"):
            raise UploadConflict(
                f"files: got number {index}, wanted that of a file of the list", field="files"
            )
        if not self._tree.is_dir():
            raise _gone(self.number)
        self._touch()
        return UploadWriter(
            self._directory, self._tree / entries[index].name, entries[index], offset
        )

    def seal(self) -> str:
        """Make it a checkpoint; return its address, also to whoever asks once more.

        Raises:
            UploadConflict: bytes are lacking, or there is no such upload.
            CheckpointDamaged: names the file that has other bytes than its hash promised.
            CheckpointError: the disk is full or fails; says where.
        """
        return join_seal(self._directory, self._seal)

    def _seal(self) -> str:
        if not (self._directory / _LIST).is_file():
            address = recently_sealed(self._directory)
            if address is None or not self._checkpoints.touch_if_intact(address):
                raise _gone(self.number)
            return address
        entries = self.entries()
        self._touch()
        self._check_files(entries)
        # Published by rename before the upload goes: killed in between, a second try finds the
        # checkpoint at its address, and what is left of the upload expires.
        address = self._checkpoints.publish(self._tree, entries)
        self._checkpoints.drop(self._directory)
        return address

    def _check_files(self, entries: Sequence[FileEntry]) -> None:
        """Look whether all is there as it was promised, here or already at its address."""
        try:
            if not self._tree.is_dir():
                raise _gone(self.number)
            for entry in entries:
                self._check_complete(entry)
            found = self._checkpoints.freeze(self._tree)
        except CheckpointError:
            if self._checkpoints.touch_if_intact(manifest.address_of(entries)):
                return  # another service has sealed it, or this one before it was killed
            raise
        if tuple(found) != entries:
            raise self._drop_wrong(entries, found)

    def _drop_expired(self) -> None:
        for directory in tree.list_dir(self._directory.parent):
            if directory.name.startswith(_PREFIX) and tree.changed_ns(directory) < time.time_ns():
                self._checkpoints.drop(directory)

    def _make(self, entries: Sequence[FileEntry]) -> None:
        """Make it whole under another name first: a crash leaves no half of it."""
        # not named as uploads are: another request would take it for one that is over
        staged = self._checkpoints.stage("begun-upload", spare_s=_MAKE_S)
        try:
            self._check_room(staged, sum(entry.size for entry in entries))
            (staged / _TREE).mkdir()
            (staged / _LIST).write_text(encode(files_to_json(entries)), "ascii")
            self._keep_until_idle(staged)
            staged.rename(self._directory)
        except OSError as e:
            if e.errno not in _OCCUPIED:
                raise tree.translate_error(e, doing="begin an upload at", path=staged) from e
        finally:
            self._checkpoints.drop(staged)

    def _touch(self) -> None:
        with suppress(FileNotFoundError):  # sealed or dropped by somebody else
            self._keep_until_idle(self._directory)

    def _keep_until_idle(self, directory: Path) -> None:
        """Keep it for a while from now on: a collection goes by the time of change."""
        # In the future: all that looks for rubbish, also in other processes, goes by this one time.
        until = time.time() + self._settings.upload_idle_s
        os.utime(directory, (until, until))

    def _check_complete(self, entry: FileEntry) -> None:
        """Make what has no bytes; refuse what lacks some."""
        path = self._tree / entry.name
        if (size := self._size(entry)) < entry.size:
            raise UploadConflict(
                f"files: {entry.name!r} has {size} of {entry.size} bytes", field="files"
            )
        try:
            if entry.name.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
            elif entry.size == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        except OSError as e:
            raise tree.translate_error(e, doing="write", path=path) from e

    def _drop_wrong(
        self, wanted: Sequence[FileEntry], found: Sequence[FileEntry]
    ) -> CheckpointDamaged:
        """Throw away what is wrong, so that it can be sent again; say what it is."""
        listed = {entry.name: entry for entry in wanted}
        for entry in found:
            if listed.get(entry.name) != entry:
                (self._tree / entry.name).unlink(missing_ok=True)
        return CheckpointDamaged(f"files: {manifest.difference(listed, found)}", field="files")

    def _size(self, entry: FileEntry) -> int:
        try:
            return os.stat(self._tree / entry.name).st_size if entry.size else 0
        except OSError:
            return 0

    def _check_room(self, directory: Path, n_bytes: int) -> None:
        # Before any byte is sent: hours of sending would end with the same words.
        free = shutil.disk_usage(directory).free
        if n_bytes > free:
            raise StorageFull(
                f"cannot save a checkpoint of {n_bytes} bytes at {directory.parent}: the disk is "
                f"full, with {free} left: free some space, then resume"
            )


@lru_cache(maxsize=64)
def _cached_entries(path: Path, inode: int) -> tuple[FileEntry, ...]:  # noqa: ARG001 - another file of that name
    return tuple(files_from_json(strict_json(path.read_bytes())))


def _gone(number: str) -> UploadConflict:
    return UploadConflict(
        f"upload: there is none {number!r:.80}: sealed, given up or never begun", field="upload"
    )

"""Uploads under way, on disk: they survive the service, and are nothing until they are sealed.

What comes in is written at the end of its file, and hashed on the way.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from evolvent.errors import (
    CheckpointDamaged,
    CheckpointError,
    CheckpointTooLarge,
    StorageFull,
    UploadConflict,
)
from evolvent.service.settings import ServiceSettings
from evolvent.store.checkpoints import files as tree
from evolvent.store.checkpoints import manifest
from evolvent.store.checkpoints.files import FileEntry
from evolvent.store.checkpoints.hashes import HASHES
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.codec.fields import Malformed
from evolvent.store.codec.file_list import files_from_json, files_to_json
from evolvent.store.codec.strict_json import encode, strict_json

if TYPE_CHECKING:
    from hashlib import _Hash

_PREFIX, _LIST, _TREE = "upload-", "files.json", "tree"
_ID_DIGITS = 32
_NUMBER = re.compile(rf"[0-9a-f]{{{_ID_DIGITS}}}")
_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST}
_MAKE_S = 60.0
_MODE = 0o666  # less what the umask takes
_MOST_REMEMBERED = 1024
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_partial_hashes: OrderedDict[tuple[int, int], tuple[int, _Hash]] = OrderedDict()
"""Hashes of what has come so far, by file: they save reading it again, and may be forgotten."""
_open_writers: set[UploadWriter] = set()
_lock = threading.Lock()
_sealing: dict[Path, Future[str]] = {}
_sealed: OrderedDict[Path, str] = OrderedDict()
"""Addresses by upload: for whoever has not heard the answer. They may be forgotten."""


class UploadWriter:
    """A file of an upload, which grows: the sender goes on at `offset`, until it is the `entry`.

    Raises:
        UploadConflict: it does not end there, or another connection is writing it.
        CheckpointError: the disk is full; says where.
    """

    def __init__(self, upload: Path, path: Path, entry: FileEntry, offset: int) -> None:
        self.upload, self._path, self._entry = upload, path, entry
        self._ended = self._is_sound = False
        self.size, self._key = 0, (0, 0)
        self._hash: _Hash | None = None
        self._busy = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file = os.fdopen(os.open(path, flags, _MODE), "wb", buffering=0)
        except OSError as e:
            raise tree.translate_error(e, doing="write", path=path) from e
        try:
            self._lock_and_check(offset)
        except BaseException:
            self._file.close()
            raise
        _open_writers.add(self)

    @property
    def left(self) -> int:
        """Bytes that are still to come."""
        return self._entry.size - self.size

    def check_length(self, length: int) -> None:
        """Refuse more bytes than are still to come.

        Raises:
            CheckpointTooLarge: names the file.
        """
        if length > self.left:
            raise CheckpointTooLarge(
                f"files: {self._entry.name!r} is to have {self._entry.size} bytes, and has "
                f"{self.size}: got {length} more",
                field="files",
            )

    def write(self, block: bytes) -> None:
        """Write at the end.

        Raises:
            UploadConflict: the sender has begun to send on another connection.
            CheckpointTooLarge: there is no room for it in the file; names the file.
            CheckpointError: the disk is full; says where.
        """
        self.check_length(len(block))
        rest = memoryview(block)
        try:
            with self._busy:
                if self._ended:
                    raise UploadConflict(
                        "body: the upload has gone on on another connection", field="body"
                    )
                # By position: a sender that was thought dead cannot append behind the one that came
                # after it, and what is written is what is hashed.
                while rest:
                    n = os.pwrite(self._file.fileno(), rest, self.size)
                    if self._hash is not None:
                        self._hash.update(rest[:n])
                    self.size += n
                    rest = rest[n:]
        except OSError as e:
            raise tree.translate_error(e, doing="write", path=self._path) from e

    def finish(self) -> int:
        """Check what has come, if that is all; return how many bytes are there.

        Raises:
            CheckpointDamaged: the bytes are not those that were promised; they are thrown away.
        """
        with self._busy:  # the sender may end this by beginning on another connection
            if self._hash is None or self.left:
                return self.size
            found, self._hash = self._hash.hexdigest(), None
            if found == self._entry.sha256:
                self._is_sound = True
                return self.size
            self._file.truncate(0)
        raise CheckpointDamaged(
            f"files: {self._entry.name!r} has other bytes than its sha256 promised: send it again "
            "from the beginning",
            field="files",
        )

    def close(self) -> None:
        """Let go of the file, once nobody writes; what came of it stays."""
        self.end()
        _open_writers.discard(self)
        self._file.close()

    def remember(self) -> None:
        """Keep the hash of a file that has come whole and is closed: the seal need not read it."""
        if self._is_sound:
            HASHES.put(self._path, self._entry.sha256)

    def end(self) -> None:
        """Write no more, once nobody writes; what came stays, and others may go on there."""
        with self._busy:
            if self._ended:
                return
            self._ended = True
            if self._hash is not None and self.left:
                _remember(_partial_hashes, self._key, (self.size, self._hash))
            self._hash = None
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _lock_and_check(self, offset: int) -> None:
        # Of the system, not of this process: another service may serve the same directory.
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            message = f"files: {self._entry.name!r} is being sent on another connection: wait"
            raise UploadConflict(message, field="files") from e
        stat = os.fstat(self._file.fileno())
        self.size, self._key = stat.st_size, (stat.st_dev, stat.st_ino)
        if offset != self.size:
            raise UploadConflict(
                f"offset: got {offset}, but {self.size} bytes of {self._entry.name!r} are here: "
                "go on there",
                field="offset",
            )
        hashed_size, hasher = _partial_hashes.pop(self._key, (-1, None))
        if offset == 0:
            self._hash = hashlib.sha256()
        elif hashed_size == offset:
            self._hash = hasher


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
        self._checkpoints, self._settings = checkpoints, settings
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
        # A copy: they leave the set in other threads.
        for writer in list(_open_writers):
            if writer.upload == upload._directory:
                writer.end()
        upload._touch(upload._directory)
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

    def drop(self) -> None:
        """Remove it.

        Raises:
            UploadConflict: it is gone.
        """
        self.entries()
        self._clear()

    def receive(self, index: int, offset: int) -> UploadWriter:
        """Open a file to be written on from `offset`.

        Raises:
            UploadConflict: that is not where it ends, or another connection is writing it.
            CheckpointError: the disk is full; says where.
        """
        entries = self.entries()
        if index >= len(entries) or not entries[index].is_file:
            message = f"files: got number {index}, wanted that of a file of the list"
            raise UploadConflict(message, field="files")
        if not self._tree.is_dir():
            raise _gone(self.number)
        self._touch(self._directory)
        path = self._tree / entries[index].name
        file = UploadWriter(self._directory, path, entries[index], offset)
        if (self._directory / _LIST).is_file():
            return file
        file.close()  # given up since we looked: its directories were made again, for nobody
        self._checkpoints.drop(self._directory)
        raise _gone(self.number)

    def seal(self) -> str:
        """Make it a checkpoint; return its address, also to whoever asks once more.

        Raises:
            UploadConflict: bytes are lacking, or there is no such upload.
            CheckpointDamaged: names the file that has other bytes than its hash promised.
            CheckpointError: the disk is full or fails; says where.
        """
        # Who asks again while the first call still hashes gets its answer: no byte is read twice.
        with _lock:
            running = _sealing.get(self._directory)
            future = _sealing[self._directory] = Future() if running is None else running
        if running is not None:
            return running.result()
        try:
            address = self._seal()
        except BaseException as e:
            with _lock:
                del _sealing[self._directory]
            future.set_exception(e)
            raise
        # Noted before those who wait go on: whoever comes between the two finds it.
        with _lock:
            del _sealing[self._directory]
            _remember(_sealed, self._directory, address)
        future.set_result(address)
        return address

    def _seal(self) -> str:
        if not (self._directory / _LIST).is_file():
            with _lock:
                address = _sealed.get(self._directory)
            if address is None or not self._checkpoints.touch_if_intact(address):
                raise _gone(self.number)
            return address
        entries = self.entries()
        self._touch(self._directory)
        self._check_files(entries)
        # Published by rename before the upload goes: killed in between, a second try finds the
        # checkpoint at its address, and what is left of the upload expires.
        address = self._checkpoints.publish(self._tree, entries)
        self._clear()
        return address

    def _check_files(self, entries: Sequence[FileEntry]) -> None:
        """Look whether all is there as it was promised, here or already at its address."""
        try:
            if not self._tree.is_dir():
                raise _gone(self.number)
            for entry in entries:
                self._check_complete(entry)
            tree.make_links(self._tree, entries)
            found = self._checkpoints.freeze(self._tree)
        except CheckpointError:
            if self._checkpoints.touch_if_intact(manifest.address_of(entries)):
                return  # another service has sealed it, or this one before it was killed
            raise
        if tuple(found) != entries:
            raise self._drop_wrong(entries, found)

    def _clear(self) -> None:
        # The list first: who opens a file just now looks for it afterwards, and clears up as well.
        with suppress(OSError):
            (self._directory / _LIST).unlink()
        self._checkpoints.drop(self._directory)

    def _drop_expired(self) -> None:
        for directory in tree.list_dir(self._directory.parent):
            if directory.name.startswith(_PREFIX) and tree.changed_ns(directory) < time.time_ns():
                self._checkpoints.drop(directory)

    def _make(self, entries: Sequence[FileEntry]) -> None:
        """Make it whole under another name first: a crash leaves no half of it."""
        # not named as uploads are: another request would take it for one that is over
        staged = self._checkpoints.stage("begun-upload", spare_s=_MAKE_S)
        try:
            # Before any byte is sent: hours of sending would end with the same words.
            free, size = shutil.disk_usage(staged).free, sum(entry.size for entry in entries)
            if size > free:
                raise StorageFull(
                    f"cannot save a checkpoint of {size} bytes at {staged.parent}: the disk is "
                    f"full, with {free} left: free some space, then resume"
                )
            (staged / _TREE).mkdir()
            (staged / _LIST).write_text(encode(files_to_json(entries)), "ascii")
            self._touch(staged)
            staged.rename(self._directory)
        except OSError as e:
            if e.errno not in _OCCUPIED:
                raise tree.translate_error(e, doing="begin an upload at", path=staged) from e
        finally:
            self._checkpoints.drop(staged)

    def _touch(self, directory: Path) -> None:
        """Keep it for a while from now on: a collection goes by the time of change."""
        # In the future: all that looks for rubbish, also in other processes, goes by this one time.
        until = time.time() + self._settings.upload_idle_s
        with suppress(FileNotFoundError):  # sealed or dropped by somebody else
            os.utime(directory, (until, until))

    def _check_complete(self, entry: FileEntry) -> None:
        """Make what has no bytes; refuse what lacks some."""
        path, size = self._tree / entry.name, self.arrived(entry)
        if size < entry.size:
            message = f"files: {entry.name!r} has {size} of {entry.size} bytes"
            raise UploadConflict(message, field="files")
        try:
            if entry.name.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
            elif entry.size == 0 and entry.is_file:
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
            if listed.get(entry.name) != entry or entry.link is not None:  # to write through none
                (self._tree / entry.name).unlink(missing_ok=True)
        return CheckpointDamaged(f"files: {manifest.difference(listed, found)}", field="files")

    def arrived(self, entry: FileEntry) -> int:
        """Return how many bytes of a file are there."""
        try:
            return os.stat(self._tree / entry.name).st_size if entry.size else 0
        except OSError:
            return 0


def _remember(memory: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    memory[key] = value
    while len(memory) > _MOST_REMEMBERED:
        memory.popitem(last=False)


@lru_cache(maxsize=64)
def _cached_entries(path: Path, inode: int) -> tuple[FileEntry, ...]:  # noqa: ARG001 - another file of that name
    return tuple(files_from_json(strict_json(path.read_bytes())))


def _gone(number: str) -> UploadConflict:
    return UploadConflict(
        f"upload: there is none {number!r:.80}: sealed, given up or never begun", field="upload"
    )

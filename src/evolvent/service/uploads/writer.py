"""One file of an upload while its bytes come in: written at its end, hashed on the way."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from evolvent.errors import CheckpointDamaged, CheckpointTooLarge, UploadConflict
from evolvent.store.checkpoints import files as tree
from evolvent.store.checkpoints.files import FileEntry
from evolvent.store.checkpoints.hashes import HASHES

if TYPE_CHECKING:
    from hashlib import _Hash

_MODE = 0o666  # less what the umask takes
_MOST_REMEMBERED = 1024
_FileKey: TypeAlias = tuple[int, int]
_partial_hashes: OrderedDict[_FileKey, tuple[int, _Hash]] = OrderedDict()
"""Hashes of what has come so far, by file: they save reading it again, and may be forgotten."""
_open_writers: set[UploadWriter] = set()
_lock = threading.Lock()
_sealing: dict[Path, Future[str]] = {}
_sealed: OrderedDict[Path, str] = OrderedDict()
"""Addresses by upload: for whoever has not heard the answer. They may be forgotten."""


def end_writers(upload: Path) -> None:
    """Let no connection write to an upload any more: its sender has begun a new one."""
    # A copy: they leave the set in other threads.
    for file in list(_open_writers):
        if file.upload == upload:
            file.end()


class UploadWriter:
    """A file that grows.

    Args:
        upload: directory of the upload that it belongs to.
        path: where it is, or will be.
        entry: what it is to become.
        offset: where the sender goes on.

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
                _partial_hashes[self._key] = self.size, self._hash
                while len(_partial_hashes) > _MOST_REMEMBERED:
                    _partial_hashes.popitem(last=False)
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


def join_seal(upload: Path, seal: Callable[[], str]) -> str:
    """Seal an upload, or wait for whoever is sealing it; return the address that came of it.

    Raises:
        EvolventError: what `seal` has raised, to all who wait.
    """
    # A client whose answer was lost asks again while the first call still hashes: it gets the same
    # answer, and no byte is read twice.
    with _lock:
        running = _sealing.get(upload)
        future = _sealing[upload] = Future() if running is None else running
    if running is not None:
        return running.result()
    try:
        address = seal()
    except BaseException as e:
        _finish_seal(upload, None)
        future.set_exception(e)
        raise
    # Noted before those who wait go on: whoever comes between the two finds it.
    _finish_seal(upload, address)
    future.set_result(address)
    return address


def recently_sealed(upload: Path) -> str | None:
    """Return the address of an upload that was sealed not long ago."""
    with _lock:
        return _sealed.get(upload)


def _finish_seal(upload: Path, address: str | None) -> None:
    with _lock:
        del _sealing[upload]
        if address is None:
            return
        _sealed[upload] = address
        while len(_sealed) > _MOST_REMEMBERED:
            _sealed.popitem(last=False)

"""Files of a checkpoint to a service and from it: what lacks, from where a connection ended."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, cast
from uuid import uuid4

from evolvent.errors import (
    CheckpointDamaged,
    CheckpointError,
    EvolventError,
    StoreUnavailable,
    UploadConflict,
)
from evolvent.store.backoff import Backoff
from evolvent.store.checkpoints import files as tree
from evolvent.store.checkpoints.files import FileEntry
from evolvent.store.checkpoints.hashes import HASHES
from evolvent.store.codec.messages import NEW_UPLOAD, SENT, UPLOAD, NewUploadBody
from evolvent.store.codec.strict_json import encode
from evolvent.store.http.connection import CONNECTION_ERRORS
from evolvent.store.http.transport import ANSWER_S, RETRY_S, Transport, unavailable

PART = 1 << 24
"""Bytes that are sent at once: so much is sent again at most when a connection ends."""
_HASHED_PER_S = 20e6  # slow disks, and others who are served first
_BLOCK = 1 << 18
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0
_JSON = {"Content-Type": "application/json"}
_BYTES = {"Content-Type": "application/octet-stream"}
TRIES = 8
"""So often in a row a connection may end without a byte of news."""
_READ_ONLY = 0o444
_PARTIAL = 206


def upload(transport: Transport, study: str, staged: Path, entries: Sequence[FileEntry]) -> None:
    """Bring the files of a staged checkpoint to the service, which checks and keeps them.

    Equal contents that are there already cost one request. `study` is the path of the study;
    `entries` are in the order of their names, and nobody changes the files meanwhile.

    Raises:
        CheckpointTooLarge: the service does not take as much; names its limit.
        CheckpointError: the service has no room, or a file here cannot be read or was changed.
        StoreUnavailable: the service cannot be reached.
    """
    description = encode(NEW_UPLOAD.to_json(NewUploadBody(entries, uuid4().hex))).encode()
    backoff, most_sent = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, for_s=RETRY_S), -1
    # To begin and to seal may both read all of it there: equal contents, or what has come.
    long_s = ANSWER_S + sum(entry.size for entry in entries) / _HASHED_PER_S
    while True:
        answer = transport.request(
            "POST", f"{study}/uploads", description, headers=_JSON, timeout_s=long_s
        )
        progress = transport.read(UPLOAD, answer)
        if progress.sealed:
            return
        offsets = [file.offset for file in progress.files]
        if (sent := sum(offsets)) > most_sent:
            # For as long as something arrives, and `RETRY_S` beyond: a slow line is no failure.
            most_sent = sent
            backoff.restart()
        elif backoff.is_over:
            raise StoreUnavailable(
                f"the service at {transport.origin.url} takes no more of a checkpoint: tried for "
                f"{RETRY_S:.0f} s; check the network, and what the service says in its log"
            )
        else:
            time.sleep(backoff.pause_s())
        path = f"{study}/uploads/{progress.upload}"
        try:
            for index, (entry, offset) in enumerate(zip(entries, offsets, strict=True)):
                _send(transport, f"{path}/files/{index}", staged / entry.name, entry, offset)
            transport.request("POST", f"{path}/seal", timeout_s=long_s)
        except UploadConflict:
            # Only the service knows how much has arrived: begun again under the same key it says.
            continue
        except CheckpointError:
            with suppress(EvolventError):  # what is there is of no use to anybody
                transport.request("DELETE", path)
            raise
        return


def _send(transport: Transport, path: str, source: Path, entry: FileEntry, offset: int) -> None:
    """Send the rest of a file, a part at a time."""
    while offset < entry.size:
        part = _UploadPart(source, entry, offset)
        headers = {**_BYTES, "Content-Length": str(part.length)}
        answer = transport.request("PUT", f"{path}?offset={offset}", part.open, headers=headers)
        offset = transport.read(SENT, answer)


class _UploadPart(io.RawIOBase):
    """A piece of a file, to be sent once: how to go on only the service can tell.

    The library reads from it, which would ask a file for eight kilobytes at a time.
    """

    def __init__(self, source: Path, entry: FileEntry, offset: int) -> None:
        self._source, self._offset = source, offset
        self._left = self.length = min(PART, entry.size - offset)
        self._file: io.FileIO | None = None

    def open(self) -> IO[bytes]:
        """Open it for the one try.

        Raises:
            UploadConflict: it was opened before, so that try has failed.
            CheckpointError: it cannot be read.
        """
        # The transport would send the same bytes again, at an offset that may have been passed.
        if self._file is not None:
            raise UploadConflict(f"the connection ended while {self._source} was sent")
        try:
            self._file = self._source.open("rb", buffering=0)
        except OSError as e:
            raise tree.translate_error(e, doing="read", path=self._source) from e
        self._file.seek(self._offset)
        return cast(IO[bytes], self)  # as far as it is used

    def read(self, size: int = -1, /) -> bytes:  # noqa: ARG002 - as the library calls it
        """Return a large block, or nothing at the end of the part.

        Raises:
            CheckpointError: the file cannot be read, or has become shorter.
        """
        if self._left == 0:
            return b""
        assert self._file is not None  # opened
        try:
            block = self._file.read(min(_BLOCK, self._left))
        except OSError as e:
            raise tree.translate_error(e, doing="read", path=self._source) from e
        if not block:
            raise CheckpointError(f"{self._source} was changed while it was sent")
        self._left -= len(block)
        return block

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()


def download(transport: Transport, path: str, target: Path, entries: Sequence[FileEntry]) -> None:
    """Write the files of a checkpoint into an empty directory, and check each as it comes.

    The service has them in the order of `entries`, below `path`.

    Raises:
        CheckpointMissing: the service has just let it go.
        CheckpointDamaged: names the file whose bytes are not those that were saved.
        CheckpointError: this disk is full; says where.
        StoreUnavailable: the service cannot be reached.
    """
    block = memoryview(bytearray(_BLOCK))  # one for all: a fresh one costs as much as its hash
    for index, entry in enumerate(entries):
        file_path = target / entry.name
        try:
            if entry.link is not None:
                continue
            if entry.name.endswith("/"):
                file_path.mkdir(parents=True)
                continue
            file_path.parent.mkdir(parents=True, exist_ok=True)
            with _File(file_path, entry) as file:
                if entry.size:
                    _fill(transport, f"{path}/files/{index}", file, block)
            if entry.size:
                HASHES.put(file_path, entry.sha256)  # of what has just been written
        except OSError as e:
            raise tree.translate_error(e, doing="write", path=file_path) from e
    tree.make_links(target, entries)


class _File:
    """A file that grows and is hashed on the way."""

    def __init__(self, place: Path, entry: FileEntry) -> None:
        self.entry = entry
        self.size = 0
        self._digest = hashlib.sha256()
        self._descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _READ_ONLY)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def write(self, block: memoryview) -> None:
        self._digest.update(block)
        self.size += len(block)
        while len(block):
            block = block[os.write(self._descriptor, block) :]
        if self.size > self.entry.size:
            raise CheckpointDamaged(f"{self.entry.name!r} has more bytes than were saved")

    @property
    def sound(self) -> bool:
        return (self.size, self._digest.hexdigest()) == (self.entry.size, self.entry.sha256)


def _fill(transport: Transport, path: str, file: _File, block: memoryview) -> None:
    entry, in_vain = file.entry, 0
    while file.size < entry.size:
        before = file.size
        # On from there, and of the same file only: else it comes whole, which is refused.
        headers = {"Range": f"bytes={before}-", "If-Range": f'"{entry.sha256}"'} if before else {}
        with transport.stream(path, headers=headers) as response:
            _check_start(response, file)
            broken = read_into(response, file.write, block)
        # A line that breaks often still brings it in the end; one that brings nothing does not.
        in_vain = 0 if file.size > before else in_vain + 1
        if in_vain == TRIES:
            raise unavailable(transport.origin.url, broken or EOFError(f"no more of {path}"), 0.0)
    if not file.sound:
        raise CheckpointDamaged(f"{path}: {entry.name!r} has other bytes than were saved")


def read_into(
    response: http.client.HTTPResponse, write: Callable[[memoryview], object], block: memoryview
) -> Exception | None:
    """Read until the end of an answer; return what ended it before its time."""
    while True:
        try:
            n = response.readinto(block)
        except CONNECTION_ERRORS as e:
            return e
        if n == 0:
            return None
        write(block[:n])


def _check_start(response: http.client.HTTPResponse, file: _File) -> None:
    """Refuse an answer that does not go on where we are."""
    content_range = response.getheader("content-range", "")
    if file.size and not (
        response.status == _PARTIAL and content_range.startswith(f"bytes {file.size}-")
    ):
        raise CheckpointDamaged(f"{file.entry.name!r} has changed while it was read")

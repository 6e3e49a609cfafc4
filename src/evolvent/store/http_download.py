"""Files of a checkpoint from the service, read on where a connection ended."""

from __future__ import annotations

import hashlib
import http.client
import os
from collections.abc import Sequence
from pathlib import Path

from evolvent.errors import CheckpointDamaged
from evolvent.store import files as tree
from evolvent.store.files import Entry
from evolvent.store.http_connection import TROUBLE
from evolvent.store.http_errors import unavailable
from evolvent.store.http_transport import Transport

TRIES = 8
"""So often in a row a connection may end without a byte of news."""

_BLOCK = 1 << 18
_READ_ONLY = 0o444
_PARTIAL = 206


def download(transport: Transport, path: str, target: Path, entries: Sequence[Entry]) -> None:
    """Write the files of a checkpoint into a directory, and check each as it comes.

    Args:
        transport: to the service.
        path: of the checkpoint.
        target: an empty directory.
        entries: the files in the order in which the service has them.

    Raises:
        CheckpointMissing: the service has just let it go.
        CheckpointDamaged: names the file whose bytes are not those that were saved.
        CheckpointError: this disk is full; says where.
        StoreUnavailable: the service cannot be reached.
    """
    block = memoryview(bytearray(_BLOCK))
    for index, entry in enumerate(entries):
        place = target / entry.name
        try:
            if entry.name.endswith("/"):
                place.mkdir(parents=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with _File(place, entry) as file:
                if entry.size:
                    _fill(transport, f"{path}/files/{index}", file, block)
        except OSError as e:
            raise tree.explained(e, doing="write", path=place) from e


class _File:
    """A file that grows and is hashed on the way."""

    def __init__(self, place: Path, entry: Entry) -> None:
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

    @property
    def sound(self) -> bool:
        return (self.size, self._digest.hexdigest()) == (self.entry.size, self.entry.sha256)


def _fill(transport: Transport, path: str, file: _File, block: memoryview) -> None:
    entry, in_vain = file.entry, 0
    while file.size < entry.size:
        before = file.size
        headers = {"Range": f"bytes={before}-", "If-Range": f'"{entry.sha256}"'} if before else {}
        with transport.stream(path, headers=headers) as response:
            _check_start(response, file)
            broken = _read(response, file, block)
        in_vain = 0 if file.size > before else in_vain + 1
        if in_vain == TRIES:
            raise unavailable(transport.address.url, broken or EOFError(f"no more of {path}"), 0.0)
    if not file.sound:
        raise CheckpointDamaged(f"{path}: {entry.name!r} has other bytes than were saved")


def _read(response: http.client.HTTPResponse, file: _File, block: memoryview) -> Exception | None:
    """Read until the end of an answer; return what ended it before its time."""
    while True:
        try:
            n = response.readinto(block)
        except TROUBLE as e:
            return e
        if n == 0:
            return None
        file.write(block[:n])
        if file.size > file.entry.size:
            raise CheckpointDamaged(f"{file.entry.name!r} has more bytes than were saved")


def _check_start(response: http.client.HTTPResponse, file: _File) -> None:
    """Refuse an answer that does not go on where we are."""
    got = response.getheader("content-range", "")
    if file.size and not (response.status == _PARTIAL and got.startswith(f"bytes {file.size}-")):
        raise CheckpointDamaged(f"{file.entry.name!r} has changed while it was read")

"""Whole studies over HTTP: one stream each way, by way of a file on this machine."""

from __future__ import annotations

import http.client
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from evolvent.store.checkpoints import files as tree
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.checkpoints.transfer import CheckpointWriter, HeldCheckpoints
from evolvent.store.codec.stream import MEDIA_TYPE, Received, file_blocks, log_blocks
from evolvent.store.dump import Chosen, StudyDump
from evolvent.store.http.client import Requests, new_key, quoted
from evolvent.store.http.connection import CONNECTION_ERRORS
from evolvent.store.http.transport import unavailable

_TRIES = 3
_LONG_S = 3600.0
_BLOCK = 1 << 17


class HttpWhole(Requests):
    """The part of the store that takes studies out and puts them in."""

    @contextmanager
    def dump(
        self, study: int, *, checkpoints: Chosen
    ) -> Iterator[tuple[StudyDump, HeldCheckpoints]]:
        with _folder() as folder:
            stream = folder / "stream"
            self._fetch(study, checkpoints, stream)
            received = self._read(Received.of, stream)
            directories = dict(received.unpack(lambda name: _made(folder / name)))
            yield received.dump(), HeldCheckpoints(received.addresses, directories)

    def restore(self, dump: StudyDump, *, save: CheckpointWriter, key: str | None = None) -> int:
        with _folder() as folder:
            stream = folder / "stream"
            place = LocalCheckpoints(folder / "checkpoints", sync=False)
            with _writing(stream) as file:
                file.writelines(log_blocks(dump, {}))
                save(place)
                file.writelines(file_blocks({a: place.path(a) for a in place.addresses()}))
            return self._send(stream, key or new_key())

    def _send(self, stream: Path, key: str) -> int:
        size = str(stream.stat().st_size)
        answer = self._transport.request(
            "POST",
            f"/restore?key={quoted(key)}",
            lambda: stream.open("rb"),
            headers={"Content-Type": MEDIA_TYPE, "Content-Length": size},
            timeout_s=_LONG_S,
        )
        return int(self._json(answer.data)["id"])

    def _fetch(self, study: int, checkpoints: Chosen, stream: Path) -> None:
        """Bring the stream of a study; from its start again when it breaks off."""
        words = checkpoints if isinstance(checkpoints, str) else ",".join(checkpoints) or "none"
        path = f"/studies/{study}/dump?checkpoints={words}"
        for left in reversed(range(_TRIES)):
            try:
                wanted = {"Accept": MEDIA_TYPE}
                with self._transport.stream(path, headers=wanted) as got, _writing(stream) as file:
                    file.writelines(_blocks(got))
                return
            except _BrokenOff as e:
                if left == 0:
                    raise unavailable(self.url, e.error, 0.0) from e


@contextmanager
def _folder() -> Iterator[Path]:
    """Make a directory for as long as the context lasts; the environment's TMPDIR says where."""
    folder = Path(tempfile.mkdtemp(prefix="evolvent-"))
    try:
        yield folder
    finally:
        with suppress(OSError):
            tree.remove(folder)


@contextmanager
def _writing(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("wb") as file:
            yield file
    except OSError as e:
        raise tree.translate_error(e, doing="write", path=path) from e


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while block := response.read1(_BLOCK):
            yield block
    except CONNECTION_ERRORS as e:
        raise _BrokenOff(e) from e


class _BrokenOff(Exception):
    """The connection broke off half-way; no fault of the file that is being written."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory

"""Whole studies over HTTP: one archive each way, by way of a file on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote

from evolvent.store.archive.manifest import MEDIA_TYPE
from evolvent.store.archive.writer import write_archive
from evolvent.store.checkpoints import files as tree
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.checkpoints.transfer import CheckpointWriter, HeldCheckpoints
from evolvent.store.dump import Chosen, StudyDump
from evolvent.store.http.transfer import read_into
from evolvent.store.http.transport import Transport, unavailable

_TRIES = 3
_RESTORED_S = 3600.0
_BLOCK = 1 << 17


def scratch_directory() -> tempfile.TemporaryDirectory[str]:
    """Make a directory for as long as the context lasts; the environment's TMPDIR says where."""
    return tempfile.TemporaryDirectory(prefix="evolvent-", ignore_cleanup_errors=True)


def download(transport: Transport, study: int, checkpoints: Chosen, archive: Path) -> None:
    """Bring the archive of a study into a file; from its start again when it breaks off.

    Raises:
        CheckpointError: the disk is full; says where.
        StoreUnavailable: it broke off every time.
    """
    chosen = checkpoints if isinstance(checkpoints, str) else ",".join(checkpoints) or "none"
    path = f"/studies/{study}/dump?checkpoints={chosen}"
    block, broken = memoryview(bytearray(_BLOCK)), None
    for _ in range(_TRIES):
        # Not from where it ended: the log may have grown meanwhile, and the archive with it.
        with (
            transport.stream(path, headers={"Accept": MEDIA_TYPE}) as response,
            _writing(archive) as file,
        ):
            broken = read_into(response, file.write, block)
        if broken is None:
            return
    assert broken is not None
    raise unavailable(transport.origin.url, broken, 0.0) from broken


def pack(dump: StudyDump, save: CheckpointWriter, scratch: Path) -> Path:
    """Write the archive of a study, which is returned; `save` brings checkpoints along.

    Raises:
        CheckpointError: the disk is full; says where.
    """
    archive, checkpoints = scratch / "study.zip", LocalCheckpoints(scratch / "saved", sync=False)
    save(checkpoints)
    found = {address: checkpoints.path(address) for address in checkpoints.addresses()}
    with _writing(archive) as file:
        write_archive(file, dump, HeldCheckpoints({}, found))
    return archive


def upload(transport: Transport, archive: Path, key: str) -> bytes:
    """Send the archive of a study; return the answer once all of it has been restored there."""
    return transport.request(
        "POST",
        f"/restore?key={quote(key, safe='')}",
        lambda: archive.open("rb"),
        headers={"Content-Type": MEDIA_TYPE, "Content-Length": str(archive.stat().st_size)},
        timeout_s=_RESTORED_S,
    )


@contextmanager
def _writing(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("wb") as file:
            yield file
    except OSError as e:
        raise tree.translate_error(e, doing="write", path=path) from e

"""Writing an archive piece by piece: into a file, or for whoever takes the pieces."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import zipfile
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import IO

from evolvent.errors import CheckpointDamaged
from evolvent.store.archive import manifest as layout
from evolvent.store.archive.manifest import Manifest, PackedCheckpoint, entry_name, written_by
from evolvent.store.checkpoints import files
from evolvent.store.checkpoints.files import FileEntry
from evolvent.store.checkpoints.manifest import address_of, damage
from evolvent.store.checkpoints.transfer import HeldCheckpoints
from evolvent.store.codec import records
from evolvent.store.codec.strict_json import encode
from evolvent.store.codec.study import SETTINGS, StudySettings
from evolvent.store.dump import StudyDump

_BLOCK = 1 << 20
_LINK = stat.S_IFLNK | 0o777
_LINES = 1000
_LEVEL = 3  # of deflate: half the time of the usual 6, for a few more bytes


def write_archive(file: IO[bytes], dump: StudyDump, held: HeldCheckpoints) -> Manifest:
    """Write a study into an empty file.

    Raises:
        CheckpointDamaged, CheckpointError: names the job, or the place.
    """
    with zipfile.ZipFile(file, "w") as zipped:
        writer = _ArchiveWriter(zipped)
        deque(writer.pieces(dump, held), maxlen=0)
    return writer.manifest


def archive_blocks(dump: StudyDump, held: HeldCheckpoints) -> Iterator[bytes]:
    """Yield the bytes of an archive while they are made; no more of it is ever in memory.

    Sizes follow the entries that they belong to, since nobody can go back and fill them in: other
    than that it is what `write_archive` writes.

    Raises:
        CheckpointDamaged, CheckpointError: names the job, or the place.
    """
    sink = _Sink()
    # The pieces are closed before the file: it cannot be while one of its entries is still open.
    with (
        zipfile.ZipFile(sink, "w") as zipped,
        closing(_ArchiveWriter(zipped).pieces(dump, held)) as pieces,
    ):
        for _ in pieces:
            if block := sink.take():  # deflate may have kept all of it back
                yield block
    yield sink.take()


class _Sink(io.RawIOBase):
    """Keeps what was written until it is taken; nobody can go back in it."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[bytes] = []

    def write(self, data: bytes, /) -> int:  # type: ignore[override]  # zipfile writes no others
        self._written.append(data)
        return len(data)

    def take(self) -> bytes:
        taken = b"".join(self._written)
        self._written.clear()
        return taken


class _ArchiveWriter:
    """Writes the entries of an archive, and says what it has written."""

    manifest: Manifest  # is there once all pieces are written

    def __init__(self, zipped: zipfile.ZipFile) -> None:
        self._zipped = zipped

    def pieces(self, dump: StudyDump, held: HeldCheckpoints) -> Generator[None]:
        """Write the study; stop after every piece of it."""
        texts: dict[str, Iterable[str]] = {
            layout.STUDY: [encode(SETTINGS.to_json(StudySettings.of(dump)))],
            layout.MEMBERS: (encode(records.HEAD.to_json(member)) for member in dump.members),
            layout.JOBS: (encode(records.FINISHED.to_json(job)) for job in dump.jobs),
            layout.POINTS: (encode(records.JOB_POINT.to_json(logged)) for logged in dump.points),
            layout.FAILURES: (encode(records.FAILED.to_json(failed)) for failed in dump.failures),
        }
        parts, lines, checkpoints = {}, {}, {}
        for name, part in texts.items():
            parts[name], lines[name] = yield from self._lines(name, part)
        for address in held.directories:
            checkpoints[address] = yield from self._checkpoint(held, address)
        self.manifest = Manifest(dump.record.name, written_by(), parts, lines, checkpoints)
        yield from self._lines(layout.MANIFEST, [encode(self.manifest.to_json())])

    def _lines(
        self, name: str, texts: Iterable[str]
    ) -> Generator[None, None, tuple[FileEntry, int]]:
        """Write lines, compressed; return the entry and how many there were."""
        digest, size, n, left = hashlib.sha256(), 0, 0, iter(texts)
        with self._open(name, zipfile.ZIP_DEFLATED) as out:
            while batch := list(islice(left, _LINES)):
                block = ("\n".join(batch) + "\n").encode("ascii")
                digest.update(block)
                out.write(block)
                size, n = size + len(block), n + len(batch)
                yield
        return FileEntry(name, size, digest.hexdigest()), n

    def _checkpoint(
        self, held: HeldCheckpoints, address: str
    ) -> Generator[None, None, PackedCheckpoint]:
        jobs = [job for job, job_address in held.addresses.items() if job_address == address]
        directory = held.directories[address]
        try:
            names = files.listing(directory)
        except OSError as e:
            raise files.translate_error(e, doing="read the checkpoint at", path=directory) from e
        entries = {}
        for name, link in names.items():
            if link is None:
                entries[name] = yield from self._file(address, directory, name)
                continue
            with self._open(entry_name(address, name), zipfile.ZIP_STORED, _LINK) as out:
                out.write(os.fsencode(link))  # as zip has it
            entries[name] = FileEntry.empty(name, link=link)
        # Checked while it is written, at no cost: damage must not travel on under a new checksum.
        if address_of(entries.values()) != address:
            raise CheckpointDamaged(
                f"the checkpoint of {', '.join(jobs) or 'the study'} ({address}) is damaged: "
                f"{damage(directory, address, list(entries.values()))}: leave it out"
            )
        return PackedCheckpoint(jobs, entries)

    def _file(self, address: str, directory: Path, name: str) -> Generator[None, None, FileEntry]:
        """Write a file of a checkpoint as it is: weights hardly get smaller."""
        digest, size = hashlib.sha256(), 0
        with self._open(entry_name(address, name), zipfile.ZIP_STORED) as out:
            for block in _blocks(directory / name) if not name.endswith("/") else ():
                digest.update(block)
                out.write(block)
                size += len(block)
                yield
        return FileEntry(name, size, digest.hexdigest())

    def _open(self, name: str, method: int, kind: int = stat.S_IFREG | 0o644) -> IO[bytes]:
        kind = stat.S_IFDIR | 0o755 if name.endswith("/") else kind
        info = zipfile.ZipInfo(name)  # of 1980: what is in it tells when it was
        info.compress_type, info._compresslevel = method, _LEVEL  # type: ignore[attr-defined]  # public from 3.13 on
        info.external_attr = kind << 16
        return self._zipped.open(info, "w", force_zip64=True)  # its size is not known yet


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as source:
            while block := source.read(_BLOCK):
                yield block
    except OSError as e:
        raise files.translate_error(e, doing="read the checkpoint at", path=path) from e

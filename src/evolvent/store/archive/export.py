"""Writing an archive: beside its place, and moved there when it is whole."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, get_args

from evolvent.core.records import JobId
from evolvent.errors import ArchiveError, CheckpointDamaged, UnknownJob
from evolvent.store.archive import manifest as layout
from evolvent.store.archive.manifest import Manifest, PackedCheckpoint, entry_name, written_by
from evolvent.store.archive.reader import is_archive
from evolvent.store.checkpoints import files
from evolvent.store.checkpoints.files import FileEntry
from evolvent.store.checkpoints.manifest import address_of
from evolvent.store.checkpoints.transfer import HeldCheckpoints
from evolvent.store.codec import records
from evolvent.store.codec.strict_json import encode
from evolvent.store.codec.study import SETTINGS, StudySettings
from evolvent.store.dump import Chosen, StudyDump
from evolvent.store.protocol import Store
from evolvent.validation import invalid

_BLOCK = 1 << 20
_LINES = 1000
_LEVEL = 3  # of deflate: half the time of the usual 6, for a few more bytes
_CHOICES = get_args(get_args(Chosen)[0])


def export_study(store: Store, study: int, path: str | Path, *, checkpoints: Chosen) -> Manifest:
    """Write a study as of now into one file; see `Study.export`.

    Raises:
        ArchiveError: the file cannot be written.
        CheckpointMissing, CheckpointDamaged: names the job.
        UnknownJob: a job whose checkpoint is wanted is not done.
    """
    with (
        _replacing(Path(path)) as file,
        store.dump(study, checkpoints=checkpoints) as (dump, held),
        zipfile.ZipFile(file, "w") as zipped,
    ):
        return _write(_ArchiveWriter(zipped), dump, held)


def _write(writer: _ArchiveWriter, dump: StudyDump, held: HeldCheckpoints) -> Manifest:
    texts: dict[str, Iterable[str]] = {
        layout.STUDY: [encode(SETTINGS.to_json(StudySettings.of(dump)))],
        layout.MEMBERS: (encode(records.HEAD.to_json(member)) for member in dump.members),
        layout.JOBS: (encode(records.JOB.to_json(job)) for job in dump.jobs),
        layout.POINTS: (encode(records.JOB_POINT.to_json(logged)) for logged in dump.points),
        layout.FAILURES: (encode(records.FAILED.to_json(failed)) for failed in dump.failures),
    }
    written = {name: writer.lines(name, part) for name, part in texts.items()}
    manifest = Manifest(
        study=dump.record.name,
        written_by=written_by(),
        parts={name: entry for name, (entry, _) in written.items()},
        lines={name: n for name, (_, n) in written.items()},
        checkpoints={
            address: _write_checkpoint(writer, held, address) for address in held.directories
        },
    )
    writer.lines(layout.MANIFEST, [encode(manifest.to_json())])
    return manifest


def _write_checkpoint(
    writer: _ArchiveWriter, held: HeldCheckpoints, address: str
) -> PackedCheckpoint:
    jobs = [job for job, job_address in held.addresses.items() if job_address == address]
    directory = held.directories[address]
    try:
        names = files.listing(directory)
    except OSError as e:
        raise files.translate_error(e, doing="read the checkpoint at", path=directory) from e
    entries = [writer.file(address, directory, name) for name in names]
    # Checked while it is written, at no cost: damage must not travel on under a new checksum.
    if address_of(entries) != address:
        raise CheckpointDamaged(
            f"the checkpoint of {jobs[0]} ({address}) is damaged: its files are not those that "
            "were saved: leave it out"
        )
    return PackedCheckpoint(jobs, {entry.name: entry for entry in entries})


class _ArchiveWriter:
    """Writes entries piece by piece, and says what it has written."""

    def __init__(self, zipped: zipfile.ZipFile) -> None:
        self._zipped = zipped

    def lines(self, name: str, texts: Iterable[str]) -> tuple[FileEntry, int]:
        """Write lines, compressed; return the entry and how many there were."""
        digest, size, n, left = hashlib.sha256(), 0, 0, iter(texts)
        with self._open(name, zipfile.ZIP_DEFLATED) as out:
            while batch := list(islice(left, _LINES)):
                block = ("\n".join(batch) + "\n").encode("ascii")
                digest.update(block)
                out.write(block)
                size, n = size + len(block), n + len(batch)
        return FileEntry(name, size, digest.hexdigest()), n

    def file(self, address: str, directory: Path, name: str) -> FileEntry:
        """Write a file of a checkpoint as it is: weights hardly get smaller."""
        digest, size = hashlib.sha256(), 0
        with self._open(entry_name(address, name), zipfile.ZIP_STORED) as out:
            for block in _blocks(directory / name) if not name.endswith("/") else ():
                digest.update(block)
                out.write(block)
                size += len(block)
        return FileEntry(name, size, digest.hexdigest())

    def _open(self, name: str, method: int) -> IO[bytes]:
        kind = stat.S_IFDIR | 0o755 if name.endswith("/") else stat.S_IFREG | 0o644
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


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a new file that takes its place when it is whole, and else is gone.

    Raises:
        ArchiveError: it cannot be written there, or would replace something that is no archive.
    """
    if path.exists() and not is_archive(path):
        raise ArchiveError(f"{path} is there and is no archive of ours: choose another name")
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with aside.open("xb") as file:
            yield file
            # Synced before it gets its name, and the name after: a power cut leaves the old archive
            # or the new one, never a name for half of one.
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        files.sync_directory(path.parent)
    except OSError as e:
        raise ArchiveError(f"{path} cannot be written: {e.strerror or e}") from e
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def parse_choice(choice: str | Iterable[str]) -> Chosen:
    """Return the choice of `"best"`, `"kept"`, `"pinned"`, `"none"`, or of job ids.

    Args:
        choice: a word, job ids separated by commas, or a list of job ids.

    Raises:
        ConfigError: says what came and what was wanted.
    """
    for word in _CHOICES:
        if choice == word:
            return word  # type: ignore[no-any-return]  # what get_args gives has no type
    try:
        names = choice.split(",") if isinstance(choice, str) else [str(name) for name in choice]
        return [JobId.parse(name.strip()) for name in names]
    except (UnknownJob, TypeError) as e:
        words = ", ".join(map(repr, _CHOICES))
        raise invalid(
            "checkpoints", f"got {choice!r:.80}, wanted {words}, or jobs such as 'm3r12,m0r7'"
        ) from e

"""Opening an archive that nobody vouches for: nothing in it is believed before it is checked."""

from __future__ import annotations

import hashlib
import stat
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from evolvent.errors import NO_SPACE, ArchiveError, StorageFull
from evolvent.store.archive.manifest import MANIFEST, Manifest, as_packed, entry_name
from evolvent.store.atomic_write import is_special
from evolvent.store.checkpoints import files as tree
from evolvent.store.checkpoints.files import FileEntry
from evolvent.store.codec.fields import Malformed, check
from evolvent.store.codec.strict_json import strict_json

_BLOCK = 1 << 20
# What a file may make us hold in memory or write to disk before it has been checked.
_LONGEST_LINE = 1 << 26
_LARGEST_MANIFEST = 1 << 28
_HARMLESS = 1 << 26
_MOST_RATIO = 200  # deflate reaches 1,000 on zeros, the JSON of a log nothing like it
_KINDS = {0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED = 0x1
_START = b"PK\x03\x04"
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)

_Record = TypeVar("_Record")


class ArchiveReader:
    """An open archive, whose table of contents agrees with what is there.

    Args:
        path: the file.
        called: what errors call it, as their `field` too; None for its path.
        most_text: bytes of JSON that are read at once; they take many times as much memory.

    Raises:
        ArchiveError: names the file and, where there is one to blame, the entry.
    """

    def __init__(
        self, path: Path, *, called: str | None = None, most_text: int | None = None
    ) -> None:
        self._path = path
        self._most_text = _LARGEST_MANIFEST if most_text is None else most_text
        self._called = called
        if is_special(path):  # to open a pipe is to wait for whoever writes to it
            raise self._error(" is a pipe, a socket or a device: wanted a file")
        with ExitStack() as opened:
            with self._as_archive_error():
                # Opened here, since a zip file leaves its own open while one reads an entry.
                file = opened.enter_context(path.open("rb"))
                self._zipped = opened.enter_context(zipfile.ZipFile(file))
            self._entries = self._checked_entries()
            self.manifest = self._read_manifest()
            self._check_contents()
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._opened.close()

    def records(self, name: str, read: Callable[[dict[str, Any]], _Record]) -> Iterator[_Record]:
        """Yield what `read` makes of each line of a part; it may raise `Malformed`."""
        n = 0
        for n, line in enumerate(self._lines(name), 1):
            with self._as_archive_error(f"{name}, line {n}"):
                value = strict_json(line)
                check(isinstance(value, dict), "line", value, "an object")
                record = read(value)
            yield record
        if n != self.manifest.lines[name]:
            raise self.error(name, f"{n} lines instead of {self.manifest.lines[name]}")

    def unpack(self, address: str, directory: Path) -> None:
        """Write the files of a checkpoint, whose hashes are not checked, into an empty directory.

        It is made if it is not there.
        """
        with self._as_archive_error(f"checkpoint {address}"):
            directory.mkdir(exist_ok=True)
        files = self.manifest.checkpoints[address].files
        for name, file in files.items():
            entry, target = entry_name(address, name), directory / name
            if file.link is not None:
                continue
            with self._as_archive_error(entry):
                if name.endswith("/"):
                    target.mkdir(parents=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as out:  # never over a file that is there
                    out.writelines(self._blocks(entry))
        tree.make_links(directory, files.values())

    def check_files(self, address: str) -> None:
        """Refuse a checkpoint of which a file has other bytes than the manifest says."""
        for name, file in self.manifest.checkpoints[address].files.items():
            deque(self._checked_blocks(entry_name(address, name), as_packed(file)), maxlen=0)

    def error(self, entry: str, what: object) -> ArchiveError:
        return self._error(f": {entry}: {what}")

    def _error(self, what: str) -> ArchiveError:
        return ArchiveError(f"{self._called or self._path}{what}", field=self._called)

    def _checked_blocks(self, name: str, wanted: FileEntry) -> Iterator[bytes]:
        """Yield the bytes of an entry; raise at the end if they are not those that are wanted."""
        digest, size = hashlib.sha256(), 0
        for block in self._blocks(name):
            digest.update(block)
            size += len(block)
            yield block
        # Only now: the sizes that a zip file states are not to be believed either.
        if size != wanted.size:
            raise self.error(name, f"{size} bytes instead of {wanted.size}")
        if digest.hexdigest() != wanted.sha256:
            raise self.error(name, "other bytes than were written: its SHA-256 differs")

    def _blocks(self, name: str) -> Iterator[bytes]:
        with self._as_archive_error(name), self._zipped.open(self._entries[name]) as source:
            while block := source.read(_BLOCK):
                yield block

    def _lines(self, name: str) -> Iterator[bytes]:
        rest = b""
        for block in self._checked_blocks(name, self.manifest.parts[name]):
            *whole, rest = (rest + block).split(b"\n")
            if len(rest) > min(_LONGEST_LINE, self._most_text):
                raise self.error(name, f"a line of {len(rest)} bytes or more, too long")
            yield from whole
        if rest:
            raise self.error(name, "ends within a line")

    def _checked_entries(self) -> dict[str, zipfile.ZipInfo]:
        infos = self._zipped.infolist()
        for info in infos:
            if wrong := _why_suspicious(info):
                raise self.error(info.filename, wrong)
        # Entries that share the same bytes unpack to far more than the file could hold.
        if sum(info.compress_size for info in infos) > self._path.stat().st_size:
            raise self._error(": entries overlap: made to unpack to a flood")
        entries = {info.filename: info for info in infos}
        if len(entries) < len(infos):
            raise self._error(": an entry is there twice")
        return entries

    def _read_manifest(self) -> Manifest:
        info = self._entries.get(MANIFEST)
        if info is None:
            raise self._error(f" is no archive of a study: it has no {MANIFEST}")
        if info.file_size > self._most_text:
            raise self.error(
                MANIFEST, f"{info.file_size} bytes, too large: {self._most_text} are read here"
            )
        with self._as_archive_error(MANIFEST):
            return Manifest.from_json(strict_json(self._zipped.read(info)))

    def _check_contents(self) -> None:
        wanted = self.manifest.entries
        there = self._entries.keys() - {MANIFEST}
        if strange := sorted(there - wanted.keys()):
            raise self.error(strange[0], f"{MANIFEST} does not know it")
        if gone := sorted(wanted.keys() - there):
            raise self.error(gone[0], "missing")
        for name, entry in wanted.items():
            is_link = stat.S_ISLNK(self._entries[name].external_attr >> 16)
            if is_link != (entry.link is not None):
                raise self.error(name, f"{MANIFEST} says otherwise whether it is a link")
            size = self._entries[name].file_size
            if size != entry.size:
                raise self.error(name, f"{size} bytes instead of {entry.size}")

    @contextmanager
    def _as_archive_error(self, entry: str = "") -> Iterator[None]:
        """Turn whatever a broken file can raise into one error that says where."""
        try:
            yield
        except Malformed as e:
            raise self.error(entry, e) from e
        except FileNotFoundError as e:
            raise self._error(": there is no such file") from e
        except OSError as e:
            where = f": {entry}" if entry else ""
            error = self._error(f"{where}: {e.strerror or e}")
            # No fault of the archive: another disk would have taken it.
            raise StorageFull(f"{error}: free some space") if e.errno in NO_SPACE else error from e
        except _BROKEN as e:
            if entry:
                raise self.error(entry, f"damaged: {e}") from e
            raise self._error(f" {_why_no_zip(self._path)}") from e


def is_archive(path: Path) -> bool:
    """Whether a file is an archive of ours, of any version, judged by its table of contents."""
    try:
        with zipfile.ZipFile(path) as zipped:
            return MANIFEST in zipped.namelist()
    except (*_BROKEN, OSError):
        return False


def _why_suspicious(info: zipfile.ZipInfo) -> str | None:
    if stat.S_IFMT(info.external_attr >> 16) not in _KINDS:
        return "a special file: wanted plain files, directories and links"
    if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
        return "encrypted, or packed by a method that we never use"
    stored = info.compress_type == zipfile.ZIP_STORED
    if stored and info.compress_size != info.file_size:
        return f"says {info.file_size} bytes, and has {info.compress_size}"
    if info.file_size > max(_HARMLESS, _MOST_RATIO * info.compress_size):
        return f"{info.compress_size} bytes that unpack to {info.file_size}: made to be a flood"
    return None


def _why_no_zip(path: Path) -> str:
    with path.open("rb") as file:
        begun = file.read(len(_START)) == _START
    if begun:
        return "has been cut short, or is damaged at its end: take another copy"
    return "is no archive of a study: wanted a file made by `evolvent export`"

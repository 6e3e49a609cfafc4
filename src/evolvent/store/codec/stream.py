"""A whole study as one stream: its log in JSON lines, then the files of its checkpoints.

Used both ways: by whoever takes a study out of a store, and by whoever puts one in. Every line is
a list of a word and a value; the bytes of a checkpoint's files follow its line, file after file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeVar

from evolvent.core.records import JobId
from evolvent.errors import CheckpointDamaged
from evolvent.store.checkpoints import files as tree
from evolvent.store.checkpoints import manifest
from evolvent.store.checkpoints.files import FileEntry
from evolvent.store.codec import records as lines
from evolvent.store.codec.fields import ADDRESS, JOB_NAME, Malformed, check, object_, wrong
from evolvent.store.codec.file_list import files_from_json, files_to_json
from evolvent.store.codec.strict_json import encode, strict_json
from evolvent.store.codec.study import SETTINGS, StudySettings
from evolvent.store.dump import StudyDump

MEDIA_TYPE = "application/x-evolvent-study"

_PARTS = ("member", "job", "point", "failure", "checkpoint")
_BLOCK = 1 << 17
_LINES = 500
_LONGEST_LINE = 1 << 26

_Record = TypeVar("_Record")


def log_blocks(dump: StudyDump, addresses: Mapping[JobId, str]) -> Iterator[bytes]:
    """Yield the first part of the stream of a study: all but the files.

    Args:
        dump: the study.
        addresses: of the checkpoints that come along, by the job that was asked for.
    """
    yield _line("settings", SETTINGS.to_json(StudySettings.of(dump)))
    yield _line("addresses", dict(addresses))
    yield from _batches("member", dump.members, lines.HEAD.to_json)
    yield from _batches("job", dump.jobs, lines.JOB.to_json)
    yield from _batches("point", dump.points, lines.JOB_POINT.to_json)
    yield from _batches("failure", dump.failures, lines.FAILED.to_json)


def file_blocks(directories: Mapping[str, Path]) -> Iterator[bytes]:
    """Yield the rest of the stream: the files of checkpoints, given by address.

    Raises:
        CheckpointDamaged: the files of one are not those that were saved.
    """
    for name, directory in directories.items():
        yield from _files(name, directory)
    yield _line("end", None)


def _batches(
    word: str, records: Iterable[_Record], to_json: Callable[[_Record], Any]
) -> Iterator[bytes]:
    left = iter(records)
    while batch := [_line(word, to_json(record)) for record in islice(left, _LINES)]:
        yield b"".join(batch)


def _files(name: str, directory: Path) -> Iterator[bytes]:
    try:
        entries = tree.read(directory)
        if manifest.address_of(entries) != name:
            raise CheckpointDamaged(
                f"checkpoint {name}: its files are not those that were saved: leave it out"
            )
        yield _line("checkpoint", {"address": name, "files": files_to_json(entries)})
        for entry in entries:
            if not entry.name.endswith("/"):
                yield from _blocks(directory / entry.name, entry.size)
    except OSError as e:
        raise tree.translate_error(e, doing="read the checkpoint at", path=directory) from e


def _blocks(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(_BLOCK, size))):
            size -= len(block)
            yield block
    if size:
        raise CheckpointDamaged(f"{path} has become shorter")


def _line(word: str, value: Any) -> bytes:
    return f"{encode([word, value])}\n".encode("ascii")


@dataclass(frozen=True, slots=True)
class Received:
    """A stream that has arrived whole, in a file.

    Attributes:
        path: the file.
        starts: where in it the records of each part begin that has any.
    """

    path: Path
    settings: StudySettings
    addresses: Mapping[JobId, str]
    starts: Mapping[str, int]

    @classmethod
    def of(cls, path: Path) -> Received:
        """Look through a stream once.

        Raises:
            Malformed: it is none, or breaks off.
        """
        with path.open("rb") as file:
            settings = SETTINGS.from_json(_next(file, "settings"), "settings")
            by_job = object_(_next(file, "addresses"), "addresses")
            addresses = {
                JOB_NAME.from_json(j, "job"): ADDRESS.from_json(a, j) for j, a in by_job.items()
            }
            return cls(path, settings, addresses, _starts(file))

    def dump(self) -> StudyDump:
        """Return the study; its parts are read as they are gone through."""
        settings = self.settings
        return StudyDump(
            record=settings.record,
            created_at=settings.created_at,
            started_at=settings.started_at,
            stopped=settings.stopped,
            stopped_by=settings.stopped_by,
            pins=settings.pins,
            members=self._each("member", lines.member),
            jobs=self._each("job", lines.finished),
            points=self._each("point", lambda data: lines.JOB_POINT.from_json(data, "point")),
            failures=self._each("failure", lambda data: lines.FAILED.from_json(data, "failure")),
        )

    def unpack(self, place: Callable[[str], Path]) -> Iterator[tuple[str, Path]]:
        """Write the files of each checkpoint into a directory; yield its address with it.

        Args:
            place: gives a fresh directory for an address.
        """
        with self._opened("checkpoint") as file:
            while (line := _read(file))[0] == "checkpoint":
                name, entries = _list(line[1])
                directory = place(name)
                for entry in entries:
                    _write(file, directory / entry.name, entry)
                yield name, directory

    def _each(self, word: str, from_json: Callable[[Any], _Record]) -> Iterator[_Record]:
        with self._opened(word) as file:
            while (line := _read(file))[0] == word:
                yield from_json(line[1])

    @contextmanager
    def _opened(self, word: str) -> Iterator[IO[bytes]]:
        with self.path.open("rb") as file:
            file.seek(self.starts.get(word, self.starts["end"]))
            yield file


def _starts(file: IO[bytes]) -> dict[str, int]:
    """Go through the parts; return where each begins."""
    starts: dict[str, int] = {}
    expected: tuple[str, ...] = (*_PARTS, "end")
    while "end" not in starts:
        at = file.tell()
        word, value = _read(file)
        check(word in expected, "line", word, " or ".join(map(repr, expected)))
        expected = expected[expected.index(word) :]
        starts.setdefault(word, at)
        if word == "checkpoint":
            _skip(file, _list(value)[1])
    return starts


def _read(file: IO[bytes]) -> tuple[str, Any]:
    line = file.readline(_LONGEST_LINE)
    if not line.endswith(b"\n"):
        raise Malformed("body: it breaks off, or has a line that is too long", field="body")
    try:
        data = strict_json(line)
    except Malformed as e:
        raise Malformed(f"body: {e}", field="body") from e
    if not isinstance(data, list) or len(data) != 2 or not isinstance(data[0], str):
        raise wrong("line", data, "a list of a word and a value")
    return data[0], data[1]


def _next(file: IO[bytes], word: str) -> Any:
    found, value = _read(file)
    check(found == word, "line", found, repr(word))
    return value


def _list(value: Any) -> tuple[str, list[FileEntry]]:
    data = object_(value, "checkpoint")
    return ADDRESS.from_json(data.get("address"), "address"), files_from_json(data.get("files"))


def _skip(file: IO[bytes], entries: Iterable[FileEntry]) -> None:
    size = sum(entry.size for entry in entries)
    end = file.seek(0, 1) + size
    if file.seek(0, 2) < end:
        raise Malformed("body: it breaks off within a checkpoint", field="body")
    file.seek(end)


def _write(file: IO[bytes], path: Path, entry: FileEntry) -> None:
    if entry.name.endswith("/"):
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    left = entry.size
    with path.open("xb") as out:
        while left > 0 and (block := file.read(min(_BLOCK, left))):
            left -= len(block)
            out.write(block)

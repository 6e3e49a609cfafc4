"""The layout of an archive: a zip file with a table of contents, a log in lines, checkpoints.

`manifest.json` names every other entry with its size and SHA-256. `study.json` holds the settings;
`members.jsonl`, `jobs.jsonl`, `points.jsonl` and `failures.jsonl` hold one JSON object a line;
`checkpoints/ADDRESS/` holds files as training saved them. JSON is strict: where a metric is not
finite it is the string "NaN", "Infinity" or "-Infinity".
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any
from urllib.parse import quote

from evolvent.store.checkpoints.files import FileEntry, leads_out
from evolvent.store.checkpoints.manifest import address_of, to_json
from evolvent.store.codec.fields import (
    COUNT,
    TEXT,
    Field,
    Malformed,
    check,
    list_of,
    message,
    object_,
    wrong,
)
from evolvent.validation import cut

MEDIA_TYPE = "application/zip"
FORMAT = "evolvent study"
VERSION = 3
"""Grows when an older evolvent could not read, or would misread, what a newer one writes."""

MANIFEST, STUDY = "manifest.json", "study.json"
MEMBERS, JOBS, POINTS, FAILURES = "members.jsonl", "jobs.jsonl", "points.jsonl", "failures.jsonl"
PARTS = (STUDY, MEMBERS, JOBS, POINTS, FAILURES)
_LONGEST_NAME = 4096
_PART: Field[dict[str, Any]] = message(dict, {"lines": COUNT, "size": COUNT, "sha256": TEXT})
_JOBS = list_of(TEXT)


@dataclass(frozen=True, slots=True)
class PackedCheckpoint:
    """One checkpoint in an archive.

    Attributes:
        jobs: whose it is; jobs with equal contents share one.
        files: by name, with links, and empty directories, whose names end with a slash.
    """

    jobs: Sequence[str]
    files: Mapping[str, FileEntry]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The table of contents.

    Attributes:
        study: name of the study.
        written_by: name and version of the program that wrote it.
        parts: study.json and the parts of the log, by name.
        lines: how many lines each part of the log has.
        checkpoints: by address.
    """

    study: str
    written_by: str
    parts: Mapping[str, FileEntry]
    lines: Mapping[str, int]
    checkpoints: Mapping[str, PackedCheckpoint]

    @property
    def entries(self) -> dict[str, FileEntry]:
        """All entries of the archive but the manifest, by their names in there."""
        files = {
            entry_name(address, name): as_packed(file)
            for address, packed in self.checkpoints.items()
            for name, file in packed.files.items()
        }
        return {**self.parts, **files}

    @property
    def n_bytes(self) -> int:
        """How many bytes they have when they are unpacked."""
        return sum(entry.size for entry in self.entries.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "written_by": self.written_by,
            "study": self.study,
            "parts": {
                name: {"lines": self.lines.get(name, 1), "size": part.size, "sha256": part.sha256}
                for name, part in self.parts.items()
            },
            "checkpoints": {
                address: {
                    "jobs": list(packed.jobs),
                    "files": {file.name: to_json(file) for file in packed.files.values()},
                }
                for address, packed in self.checkpoints.items()
            },
        }

    @classmethod
    def from_json(cls, data: Any) -> Manifest:
        """Undo `to_json`.

        Raises:
            Malformed: it is none, of a newer format, or names a file that must not be written.
        """
        check_version(data)
        given = object_(data.get("parts"), "parts")
        parts = {name: _PART.from_json(given.get(name), name) for name in PARTS}
        packed = object_(data.get("checkpoints"), "checkpoints")
        return cls(
            study=TEXT.from_json(data.get("study"), "study"),
            written_by=TEXT.from_json(data.get("written_by"), "written_by"),
            parts={n: FileEntry(n, part["size"], part["sha256"]) for n, part in parts.items()},
            lines={name: part["lines"] for name, part in parts.items()},
            checkpoints={address: _packed(address, found) for address, found in packed.items()},
        )


def written_by() -> str:
    """Return name and version of this program."""
    try:
        return f"evolvent {metadata.version('evolvent')}"
    except metadata.PackageNotFoundError:
        return "evolvent"


def check_version(data: Any) -> None:
    """Refuse what is no manifest of ours, or one that only a newer evolvent understands."""
    found = data.get("format") if isinstance(data, Mapping) else data
    check(found == FORMAT, "format", found, repr(FORMAT))
    version = COUNT.from_json(data.get("version"), "version")
    if version > VERSION:
        raise Malformed(
            f"written in format {version} by {cut(data.get('written_by'))}, this evolvent reads "
            f"formats up to {VERSION}: install a newer one"
        )


def entry_name(address: str, name: str) -> str:
    """Return the name of a checkpoint's file in the archive.

    As it is, so that any program can unpack it; unless it is no text: then percent-encoded.
    """
    try:
        name.encode()
        plain = "%" not in name
    except UnicodeEncodeError:
        plain = False
    return f"checkpoints/{address}/{name if plain else quote(os.fsencode(name), safe='/')}"


def as_packed(file: FileEntry) -> FileEntry:
    """Return a file as it is packed: a link as zip has it, with what it says for bytes."""
    if file.link is None:
        return file
    content = os.fsencode(file.link)
    return replace(file, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def _packed(address: str, data: Any) -> PackedCheckpoint:
    given = object_(object_(data, address).get("files"), "files")
    files = {name: _file(name, given[name]) for name in sorted(given)}
    for name in files:
        above = [name[:at] for at, char in enumerate(name) if char == "/"]
        below = [folder for folder in above if folder in files]
        check(not below, "file name", name, "no file below another, or below a link")
    if address_of(files.values()) != address:
        raise Malformed(f"checkpoint {address:.80}: the address is not that of its files")
    return PackedCheckpoint(_JOBS.from_json(data.get("jobs"), "jobs"), files)


def _file(name: str, known: Any) -> FileEntry:
    parts = name.removesuffix("/").split("/")
    sound = all(part not in {"", ".", ".."} for part in parts) and "\0" not in name
    check(sound and len(name) <= _LONGEST_NAME, "file name", name, "one inside the checkpoint")
    if not isinstance(known, list) or not 2 <= len(known) <= 3:
        raise wrong(name, known, "size and SHA-256, and what a link says")
    size, sha256 = COUNT.from_json(known[0], "size"), TEXT.from_json(known[1], "sha256")
    if len(known) == 2:
        return FileEntry(name, size, sha256)
    link = TEXT.from_json(known[2], "link")
    sound = not leads_out(name, link) and not name.endswith("/") and len(link) <= _LONGEST_NAME
    check(sound, name, link, "a link that cannot lead out of the checkpoint")
    file = FileEntry.empty(name, link=link)
    check((size, sha256) == (file.size, file.sha256), name, known, "a link without bytes")
    return file

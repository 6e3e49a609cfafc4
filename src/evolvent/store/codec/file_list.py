"""The files of a checkpoint on the wire: a list that is checked before anything is done with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evolvent.errors import CheckpointError, CheckpointTooLarge
from evolvent.store.checkpoints.files import FileEntry, leads_out
from evolvent.store.codec.fields import (
    ADDRESS,
    COUNT,
    TEXT,
    Field,
    Malformed,
    check,
    message,
    nullable,
    wrong,
)
from evolvent.validation import cut

MOST_FILES = 10_000
LONGEST_NAME, LONGEST_PART, DEEPEST = 1024, 255, 32

FILE = message(
    FileEntry,
    {"name": TEXT, "size": COUNT, "sha256": ADDRESS},
    optional={"link": nullable(TEXT)},
)
_NAME = (
    "a relative name in UTF-8 with slashes, without '.', '..', backslashes and NUL, of at most "
    f"{LONGEST_NAME} bytes ({LONGEST_PART} a part) and {DEEPEST} parts"
)
_LINK = (
    "a relative path in UTF-8, '..' at its beginning only, that cannot lead out of the checkpoint, "
    f"of at most {LONGEST_NAME} bytes"
)


def files_to_json(entries: Sequence[FileEntry]) -> list[dict[str, Any]]:
    """Return files as JSON objects.

    Raises:
        CheckpointError: names the file that cannot be listed.
    """
    for entry in entries:
        if not _is_name(entry.name):
            raise CheckpointError(f"cannot send a file of the name {entry.name!r}: wanted {_NAME}")
        if entry.link is not None and not _is_link(entry.name, entry.link):
            raise CheckpointError(
                f"cannot send {entry.name!r}, a link to {entry.link!r}: wanted {_LINK}"
            )
    if len(entries) > MOST_FILES:
        raise CheckpointTooLarge(
            f"files: {len(entries)} of them, above the limit, {MOST_FILES}: "
            "save fewer, larger ones",
            field="files",
        )
    return list(map(_file_to_json, entries))


def _file_to_json(entry: FileEntry) -> dict[str, Any]:
    data: dict[str, Any] = FILE.to_json(entry)
    if entry.link is None:  # nearly always
        del data["link"]
    return data


def files_from_json(data: Any, name: str = "files") -> list[FileEntry]:
    """Return files in the order of their names, after checking that they can be one directory.

    Raises:
        Malformed: names the entry.
    """
    if not isinstance(data, list) or len(data) > MOST_FILES:
        got = len(data) if isinstance(data, list) else data
        raise wrong(name, got, f"a list of up to {MOST_FILES} files")
    entries = sorted((_entry(item, i) for i, item in enumerate(data)), key=lambda e: e.name)
    _check_together(entries)
    return entries


def _entry(item: Any, index: int) -> FileEntry:
    where = f"files[{index}]"
    check(isinstance(item, dict), where, item, "an object with name, size and sha256")
    try:
        entry = FILE.from_json(item, where)
    except Malformed as e:
        named = f" {cut(item['name'])}" if e.field == "sha256" else ""
        raise Malformed(f"{where}{named}: {e}", field=where) from e
    name, size, sha256 = entry.name, entry.size, entry.sha256
    extra = sorted(item.keys() - FILE.schema["properties"].keys())  # such as a mode
    wanted = "name, size, sha256 and link, and no more"
    check(not extra, where, extra[:1], wanted, part=f" {cut(name)}")
    check(_is_name(name), where, name, _NAME, part=": name")
    if entry.link is not None:
        sound = _is_link(name, entry.link)
        check(sound, where, entry.link, _LINK, part=f" {cut(name)}: link")
    if size == 0 or name.endswith("/") or entry.link is not None:
        nothing = FileEntry.empty(name).sha256
        check(size == 0, where, size, "0 for a directory or link", part=f" {cut(name)}: size")
        check(sha256 == nothing, where, sha256, "that of no bytes", part=f" {cut(name)}: sha256")
    return entry


def _is_link(name: str, link: str) -> bool:
    try:
        n_bytes = len(link.encode())
    except UnicodeEncodeError:
        return False
    return n_bytes <= LONGEST_NAME and not name.endswith("/") and not leads_out(name, link)


def _is_name(name: str) -> bool:
    try:
        n_bytes = len(name.encode())
        parts = name.removesuffix("/").split("/")
        longest = max(len(part.encode()) for part in parts)
    except UnicodeEncodeError:
        return False
    if n_bytes > LONGEST_NAME or longest > LONGEST_PART or len(parts) > DEEPEST:
        return False
    return "\\" not in name and "\0" not in name and {"", ".", ".."}.isdisjoint(parts)


def _check_together(entries: Sequence[FileEntry]) -> None:
    """Refuse names that stand for two things."""
    names = {entry.name for entry in entries}
    previous = ""
    for entry in entries:
        check(entry.name != previous, "files", entry.name, "every name once", part=": name")
        previous = entry.name
        plain = entry.name.removesuffix("/")
        parts = plain.split("/")
        above = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        taken = {*above, *(f"{name}/" for name in above)}
        if plain != entry.name:
            taken.add(plain)
        if clash := names & taken:
            raise Malformed(
                f"files: got {cut(min(clash))} and {cut(entry.name)}, wanted names that are "
                "either a file, or a directory with files, or one without",
                field="files",
            )


FILES: Field[list[FileEntry]] = Field(
    {"type": "array", "items": FILE.schema, "maxItems": MOST_FILES}, files_from_json, files_to_json
)

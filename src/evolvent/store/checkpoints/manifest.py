"""What is in a checkpoint: the address that follows from it, and the list kept beside it.

The list is advisory, and there is none for a single file: it may be missing, old or torn, and then
only the name of a damaged file is not known.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from evolvent.errors import CheckpointDamaged, CheckpointMissing
from evolvent.store.checkpoints import files as tree
from evolvent.store.checkpoints.files import FileEntry, translate_error

_logger = logging.getLogger("evolvent")


def address_of(entries: Iterable[FileEntry]) -> str:
    """Return the address of these files, given in the order of their names: 64 hex digits."""
    digest = hashlib.sha256()
    for entry in entries:
        # A name can hold any byte but NUL, so no two lists of files give the same bytes.
        digest.update(os.fsencode(entry.name) + f"\0{entry.size}\0{entry.sha256}\n".encode())
    return digest.hexdigest()


def write(path: Path, entries: Iterable[FileEntry]) -> None:
    """Write the list; a full disk is no reason to fail."""
    content = json.dumps({entry.name: [entry.size, entry.sha256] for entry in entries})
    try:
        path.write_text(content, encoding="ascii")
    except OSError as e:
        _logger.warning("%s", translate_error(e, doing="write", path=path))


def read(path: Path) -> dict[str, FileEntry] | None:
    """Return the list by name, if it is there and leads to the address it is named after."""
    try:
        content = json.loads(path.read_text("ascii"))
        entries = {name: FileEntry(name, size, sha256) for name, (size, sha256) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    in_order = [entries[name] for name in sorted(entries)]
    return entries if address_of(in_order) == path.stem else None


def of(directory: Path) -> list[FileEntry]:
    """Return the files of a checkpoint by name: from the list beside it, or else by reading them.

    Args:
        directory: of the checkpoint, named by its address.

    Raises:
        CheckpointMissing: it is not there.
        CheckpointDamaged: there is no list, and the files are not those that were saved.
        CheckpointError: it cannot be read; says where.
    """
    address = directory.name
    if not directory.is_dir():
        raise CheckpointMissing(f"checkpoint {address} is not at {directory}")
    # The list leads to the address, so it is right even if the files are not.
    listed = read(directory.with_suffix(".json"))
    if listed is not None:
        return [listed[name] for name in sorted(listed)]
    try:
        entries = tree.read(directory)
    except OSError as e:
        raise translate_error(e, doing="read the checkpoint at", path=directory) from e
    if address_of(entries) != address:
        found = difference(None, entries)
        raise CheckpointDamaged(f"checkpoint {address} at {directory}: {found}")
    return entries


def difference(wanted: Mapping[str, FileEntry] | None, found: Sequence[FileEntry]) -> str:
    """Say in words what is wrong with the files that were found.

    Args:
        wanted: what was saved, by name; None when nobody knows.
        found: what is there now, which is something else.
    """
    if wanted is None and len(found) == 1:
        return f"{found[0].name!r} is not what was saved"
    if wanted is None:
        return "the files are not those that were saved (no manifest says which)"
    have = {entry.name: entry for entry in found}
    if missing := sorted(wanted.keys() - have.keys()):
        return f"{missing[0]!r} is missing"
    if added := sorted(have.keys() - wanted.keys()):
        return f"{added[0]!r} was added"
    name = min(name for name in wanted if wanted[name] != have[name])
    if have[name].size != wanted[name].size:
        return f"{name!r} has {have[name].size} bytes instead of {wanted[name].size}"
    return f"{name!r} has other bytes than were saved"

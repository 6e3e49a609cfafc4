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
        # A name and a link can hold any byte but NUL, so no two lists give the same bytes.
        if entry.link is None:
            digest.update(os.fsencode(entry.name) + f"\0{entry.size}\0{entry.sha256}\n".encode())
        else:
            digest.update(os.fsencode(f"{entry.name}\0link\0{entry.link}\0\n"))
    return digest.hexdigest()


def to_json(entry: FileEntry) -> list[int | str]:
    """Return what is known of a file beside its name: size, SHA-256, and what a link says."""
    return [entry.size, entry.sha256, *([] if entry.link is None else [entry.link])]


def write(path: str, entries: Iterable[FileEntry]) -> None:
    """Write the list; a full disk is no reason to fail."""
    content = json.dumps({entry.name: to_json(entry) for entry in entries})
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        with open(descriptor, "wb", buffering=0) as file:
            file.write(content.encode("ascii"))
    except OSError as e:
        _logger.warning("%s", translate_error(e, doing="write", path=Path(path)))


def read(path: Path) -> dict[str, FileEntry] | None:
    """Return the list by name, if it is there and leads to the address it is named after."""
    try:
        content = json.loads(path.read_bytes())
        entries = {name: FileEntry(name, *known) for name, known in content.items()}
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
        found = damage(directory, address, entries)
        raise CheckpointDamaged(f"checkpoint {address} at {directory}: {found}")
    return entries


def damage(directory: Path, address: str, found: Sequence[FileEntry]) -> str:
    """Say in words what is wrong with a checkpoint in which other files were found than saved."""
    wanted = read(directory.with_suffix(".json"))
    # A single file has no list: it is the one that leads to the address without the others.
    wanted = wanted or {entry.name: entry for entry in found if address_of([entry]) == address}
    suspects = _changed(wanted, found) if wanted else [entry.name for entry in found]
    return difference(wanted, found) + _late_writer(directory, found, suspects)


def difference(wanted: Mapping[str, FileEntry], found: Sequence[FileEntry]) -> str:
    """Say in words what is wrong with the files that were found.

    Args:
        wanted: what was saved, by name; nothing when nobody knows.
        found: what is there now, which is something else.
    """
    have = {entry.name: entry for entry in found}
    if not wanted:
        many = "the files are not those that were saved (no manifest says which)"
        return f"{found[0].name!r} is not what was saved" if len(found) == 1 else many
    if missing := sorted(wanted.keys() - have.keys()):
        return f"{missing[0]!r} is missing"
    name = _changed(wanted, found)[0]
    if name not in wanted:
        return f"{name!r} was added"
    if have[name].link != wanted[name].link:
        return f"{name!r} is another link than was saved, or none"
    if have[name].size != wanted[name].size:
        return f"{name!r} has {have[name].size} bytes instead of {wanted[name].size}"
    return f"{name!r} has other bytes than were saved"


def _changed(wanted: Mapping[str, FileEntry], found: Sequence[FileEntry]) -> list[str]:
    """Return the names of files that were not saved, or not like this; those added come first."""
    names = [entry.name for entry in found if wanted.get(entry.name) != entry]
    return sorted(names, key=lambda name: (name in wanted, name))


def _late_writer(directory: Path, found: Sequence[FileEntry], suspects: Sequence[str]) -> str:
    """Say that training code still wrote to one of these files, where its time shows that."""
    try:
        # Sealing has renewed all times of change, which no program can set: by the same clock,
        # whatever nobody has touched since tells when that was. What a disk loses keeps its time.
        places = [directory, *(directory / entry.name for entry in found)]
        sealed_ns = min(os.lstat(place).st_ctime_ns for place in places)
        written = [(os.lstat(directory / name).st_mtime_ns, name) for name in suspects]
    except OSError:  # it goes on changing
        return ""
    last_ns, name = max(written, default=(0, ""))
    if last_ns <= sealed_ns:
        return ""
    return (
        f"; {name!r} was written {(last_ns - sealed_ns) / 1e9:.3g} s after it was saved, so"
        " something still wrote when training had returned (join threads and processes, and close"
        " files, before that), or a round wrote to job.checkpoint (job.copy_checkpoint() is to be"
        " written to)"
    )

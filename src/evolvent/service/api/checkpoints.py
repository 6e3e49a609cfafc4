"""Checkpoints over HTTP: what is in one, its files, and how new ones come in."""

from __future__ import annotations

import io
import os
from functools import lru_cache
from pathlib import Path

from evolvent.errors import CheckpointDamaged, CheckpointMissing
from evolvent.service.api.operations import DownloadCall, JsonCall
from evolvent.service.api.request import ApiRequest
from evolvent.service.auth.roles import Role
from evolvent.service.web.errors import HttpError
from evolvent.service.web.streaming import FileResponse
from evolvent.service.web.threads import ThreadKind
from evolvent.store.checkpoints import files as tree
from evolvent.store.checkpoints import manifest
from evolvent.store.checkpoints.files import FileEntry
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.codec.messages import CHECKPOINT, CheckpointBody
from evolvent.validation import invalid

_PATH = "/studies/{study}/checkpoints/{address}"


def _show(request: ApiRequest) -> CheckpointBody:
    """Return what is in a checkpoint."""
    directory = _directory(request)
    return CheckpointBody(directory.name, _entries(directory))


def _open(request: ApiRequest) -> FileResponse:
    """Open one file of a checkpoint; it can be read to its end though it be collected meanwhile."""
    directory = _directory(request)
    entries, index = _entries(directory), request.path["index"]
    if index >= len(entries) or entries[index].name.endswith("/"):
        message = f"file: got {index}, wanted the number of a file in the list"
        raise HttpError(404, message, field="file")
    return FileResponse(_open_file(directory, entries[index]), entries[index])


def local(request: ApiRequest) -> LocalCheckpoints:
    """Return the checkpoints of the study in the path, which are on this machine's disk.

    Raises:
        UnknownStudy: there is none of that number.
        ConfigError: the store that is served is itself a service.
    """
    checkpoints = request.store.checkpoints(request.study)
    if not isinstance(checkpoints, LocalCheckpoints):
        raise invalid("store", f"{request.store.url} keeps its checkpoints elsewhere: ask there")
    return checkpoints


def _directory(request: ApiRequest) -> Path:
    return local(request).path(request.path["address"])


def _entries(directory: Path) -> list[FileEntry]:
    try:
        return _cached_entries(directory) if directory.is_dir() else manifest.of(directory)
    except CheckpointMissing as e:
        raise _missing(directory) from e


def _open_file(directory: Path, entry: FileEntry) -> io.FileIO:
    path = directory / entry.name
    try:
        file = io.FileIO(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
    except FileNotFoundError as e:
        if not directory.is_dir():
            raise _missing(directory) from e
        raise CheckpointDamaged(f"checkpoint {directory.name}: {entry.name!r} is missing") from e
    except OSError as e:
        raise tree.translate_error(e, doing="read", path=path) from e
    size = os.fstat(file.fileno()).st_size
    if size != entry.size:
        file.close()
        raise CheckpointDamaged(
            f"checkpoint {directory.name}: {entry.name!r} has {size} bytes instead of {entry.size}"
        )
    return file


@lru_cache(maxsize=32)
def _cached_entries(directory: Path) -> list[FileEntry]:
    """Return what is in a checkpoint, which stays the same for as long as it has its address."""
    return manifest.of(directory)


def _missing(directory: Path) -> HttpError:
    message = (
        f"checkpoint {directory.name} is not here: collected, as nothing needed it, or never sent"
    )
    return HttpError(404, message, kind="CheckpointMissing", field="checkpoint")


OPERATIONS: tuple[JsonCall | DownloadCall, ...] = (
    JsonCall(
        method="GET", path=_PATH, role=Role.VIEWER, run=_show,
        threads=ThreadKind.FILES, errors=(409,),
        summary="The files of a checkpoint: their names, sizes and hashes.",
        reply=CHECKPOINT,
    ),
    DownloadCall(
        method="GET", path=f"{_PATH}/files/{{index}}", role=Role.VIEWER, open=_open,
        errors=(409, 416),
        summary="A file of a checkpoint, by its number in the list; takes Range and If-Range.",
    ),
)  # fmt: skip

"""Checkpoints over HTTP: what is in one, its files, and how new ones come in.

They come in as a list of files first, then their bytes, in pieces, then the seal.
"""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from evolvent.errors import CheckpointDamaged, CheckpointMissing, EvolventError
from evolvent.service.api.operations import BYTES, ApiRequest, DownloadCall, JsonCall, UploadCall
from evolvent.service.auth.roles import Role
from evolvent.service.uploads import Upload, UploadWriter
from evolvent.service.web.body import check_type
from evolvent.service.web.errors import HttpError
from evolvent.service.web.streaming import FileResponse
from evolvent.service.web.threads import StoreThreads, ThreadKind
from evolvent.store.checkpoints import files as tree
from evolvent.store.checkpoints import manifest
from evolvent.store.checkpoints.files import FileEntry
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.codec import messages as m
from evolvent.store.codec.fields import COUNT
from evolvent.validation import invalid

_CHECKPOINT = "/studies/{study}/checkpoints/{address}"
_UPLOADS = "/studies/{study}/uploads"
_BLOCK = 1 << 19
_MOST_DRAINED = 1 << 25  # so many bytes are read in vain, that the sender may read our answer
_DRAIN_S = 10.0
_LARGEST = 10**15


def _show(request: ApiRequest) -> m.CheckpointBody:
    """Return what is in a checkpoint."""
    directory = _directory(request)
    return m.CheckpointBody(directory.name, _entries(directory))


def _open(request: ApiRequest) -> FileResponse:
    """Open one file of a checkpoint; it can be read to its end though it be collected meanwhile."""
    directory = _directory(request)
    entries, index = _entries(directory), request.path["index"]
    if index >= len(entries) or not entries[index].is_file:
        message = f"file: got {index}, wanted the number of a file in the list"
        raise HttpError(404, message, field="file")
    return FileResponse(_open_file(directory, entries[index]), entries[index])


def _local(request: ApiRequest) -> LocalCheckpoints:
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
    return _local(request).path(request.path["address"])


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


def _begin(request: ApiRequest) -> m.UploadProgress:
    """Begin an upload, or find the one of this key; a checkpoint that is here needs none."""
    # The least that a store can be asked of a study: one that is gone must get no directories.
    request.store.pins(request.study)
    body: m.NewUploadBody = request.body
    key = body.key or uuid4().hex
    upload = Upload.begin(_local(request), request.settings, key, body.files)
    if upload is not None:
        return _progress(upload)
    whole = [m.FileProgress(entry.name, entry.size, entry.size) for entry in body.files]
    return m.UploadProgress(manifest.address_of(body.files), True, None, whole)


def _seal(request: ApiRequest) -> str:
    """Make the files a checkpoint; return its address."""
    try:
        return _find(request).seal()
    except CheckpointDamaged as e:
        raise _damaged(e) from e


async def _receive(request: ApiRequest, sent: Request, _: StoreThreads) -> int:
    """Write a file on while its bytes come in; what has come is kept when the connection ends."""
    stream = sent.stream()
    try:
        check_type(sent.headers, BYTES)
        file = await asyncio.to_thread(_resume, request)
        try:
            file.check_length(_length(sent.headers))
            await _write(file, _blocks(stream, request.settings.upload_stall_s))
            offset = await asyncio.to_thread(file.finish)
        finally:
            file.close()  # at once, also when the sender has gone
        await asyncio.to_thread(file.remember)
        return offset
    except EvolventError as e:
        # Closed with bytes unread, the connection would be reset, and our answer lost with it.
        if not isinstance(e, _SenderGone):
            await _drain(stream)
        raise (_damaged(e) if isinstance(e, CheckpointDamaged) else e) from e


def _resume(request: ApiRequest) -> UploadWriter:
    offset = request.count("offset", most=_LARGEST)
    return _find(request).receive(request.path["index"], offset)


async def _write(file: UploadWriter, blocks: AsyncIterator[bytes]) -> None:
    """Write one block while the next comes in."""
    written: asyncio.Task[None] | None = None
    try:
        async for block in blocks:
            # One write at a time, in order; the next block comes in meanwhile.
            if written is not None:
                await written
            written = asyncio.create_task(asyncio.to_thread(file.write, block))
    finally:
        if written is not None:
            await written


async def _blocks(stream: AsyncIterator[bytes], stall_s: float) -> AsyncIterator[bytes]:
    """Yield what comes in, in blocks of a size that is worth a trip to the disk.

    Raises:
        _SenderGone: a block took longer than `stall_s`, or the connection ended.
    """
    more = True
    while more:
        parts: list[bytes] = []
        size, gone = 0, None
        try:
            async with asyncio.timeout(stall_s):
                async for part in stream:
                    parts.append(part)
                    size += len(part)
                    if size >= _BLOCK:
                        break
                else:
                    more = False
        except TimeoutError:
            gone = _SenderGone(
                408, f"body: less than {_BLOCK} bytes in {stall_s:g} s: send faster", field="body"
            )
        except ClientDisconnect:
            gone = _SenderGone(400, "body: the connection ended within it", field="body")
        # What came before the silence is kept: the sender goes on behind it.
        if size:
            yield b"".join(parts)
        if gone is not None:
            raise gone


class _SenderGone(HttpError):
    """The sender sends no more, or too slowly: no reason to listen on."""


async def _drain(stream: AsyncIterator[bytes]) -> None:
    """Read what a sender still sends: most look at an answer only when they are done."""
    drained = 0
    with suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(_DRAIN_S):
            async for part in stream:
                drained += len(part)
                if drained >= _MOST_DRAINED:
                    return


def _length(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    whole = text.isascii() and text.isdecimal() and len(text) < len(str(_LARGEST))
    return int(text) if whole else _LARGEST


def _progress(upload: Upload) -> m.UploadProgress:
    entries = upload.entries()
    sent = [m.FileProgress(e.name, e.size, upload.arrived(e)) for e in entries]
    return m.UploadProgress(manifest.address_of(entries), False, upload.number, sent)


def _find(request: ApiRequest) -> Upload:
    return Upload(_local(request), request.settings, request.path["upload"])


def _damaged(error: CheckpointDamaged) -> HttpError:
    return HttpError(422, str(error), kind="CheckpointDamaged", field="files")


OPERATIONS: tuple[JsonCall | DownloadCall | UploadCall, ...] = (
    JsonCall(
        method="GET", path=_CHECKPOINT, role=Role.VIEWER, run=_show,
        threads=ThreadKind.FILES, errors=(409,),
        summary="The files of a checkpoint: their names, sizes and hashes.",
        reply=m.CHECKPOINT,
    ),
    DownloadCall(
        method="GET", path=f"{_CHECKPOINT}/files/{{index}}", role=Role.VIEWER, open=_open,
        errors=(409, 416),
        summary="A file of a checkpoint, by its number in the list; takes Range and If-Range.",
    ),
    JsonCall(
        method="POST", path=_UPLOADS, role=Role.WORKER, run=_begin, threads=ThreadKind.FILES,
        errors=(409, 413),
        summary="Begin to send a checkpoint, or ask what has arrived of it, by its list of files.",
        body=m.NEW_UPLOAD, reply=m.UPLOAD,
    ),
    JsonCall(
        method="GET", path=f"{_UPLOADS}/{{upload}}", role=Role.WORKER, reply=m.UPLOAD,
        run=lambda r: _progress(_find(r)), errors=(409,), threads=ThreadKind.FILES,
        summary="How many bytes of each file have arrived.",
    ),
    JsonCall(
        method="DELETE", path=f"{_UPLOADS}/{{upload}}", role=Role.WORKER, errors=(409,),
        run=lambda r: _find(r).drop(), summary="Give an upload up.", threads=ThreadKind.FILES,
    ),
    UploadCall(
        method="PUT", path=f"{_UPLOADS}/{{upload}}/files/{{index}}", role=Role.WORKER,
        receive=_receive, query={"offset": COUNT.schema}, reply=m.SENT,
        summary="Bytes of a file, from `offset` on, which is where it ends now.",
        errors=(408, 409, 413, 415),
    ),
    JsonCall(
        method="POST", path=f"{_UPLOADS}/{{upload}}/seal", role=Role.WORKER, run=_seal,
        summary="Make the files a checkpoint, which a report may then name.", reply=m.SEALED,
        threads=ThreadKind.FILES, errors=(409,),
    ),
)  # fmt: skip

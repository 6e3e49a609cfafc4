"""Bodies of any length, which go to a file as they come and never through memory whole."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import Receive

from evolvent.service.errors import HttpError
from evolvent.service.limits import check_length, too_long
from evolvent.store import files as tree

_IDLE_S = 60.0
_BLOCK = 1 << 20


@asynccontextmanager
async def spooled(headers: Headers, receive: Receive, *, most: int) -> AsyncIterator[Path]:
    """Give a file with the body of a request for as long as the context lasts.

    Raises:
        HttpError: 413 when it is longer than `most` bytes, 408 when it stops coming.
        CheckpointError: the disk is full.
    """
    check_length(headers, most=most)
    folder = Path(tempfile.mkdtemp(prefix="evolvent-"))
    try:
        await _fill(folder / "body", receive, most=most)
        yield folder / "body"
    finally:
        with suppress(OSError):
            await run_in_threadpool(tree.remove, folder)


async def _fill(path: Path, receive: Receive, *, most: int) -> None:
    size, more, waiting = 0, True, bytearray()
    while more:
        try:
            message = await asyncio.wait_for(receive(), _IDLE_S)
        except TimeoutError as e:
            raise HttpError(408, f"body: nothing came for {_IDLE_S:.0f} s") from e
        if message["type"] == "http.disconnect":
            raise HttpError(400, "body: the connection ended within it")
        waiting += message.get("body", b"")
        more = message.get("more_body", False)
        if size + len(waiting) > most:
            raise too_long(most)
        if len(waiting) >= _BLOCK or not more:
            await run_in_threadpool(_append, path, bytes(waiting))
            size += len(waiting)
            waiting.clear()


def _append(path: Path, block: bytes) -> None:
    try:
        with path.open("ab") as file:
            file.write(block)
    except OSError as e:
        raise tree.explained(e, doing="write", path=path) from e

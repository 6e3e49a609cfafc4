"""Answers that are sent block by block, to readers who go on reading."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from evolvent.service.web.body import watched
from evolvent.service.web.errors import HttpError, to_response
from evolvent.store.checkpoints.files import FileEntry

STALL_S = 30.0
"""For so long a reader may keep one block waiting: behind it there is a file, or a snapshot."""
_logger = logging.getLogger("evolvent.service")
_BLOCK = 1 << 18
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class GivenUp(Exception):
    """The rest of an answer is not sent: the connection ends before its time."""


class StreamedResponse(StreamingResponse):
    """Sends blocks as they are made, and has them closed as soon as nobody reads them.

    Args:
        first: the first block; until it was there, an error could still be an answer.
        rest: all others; it is closed in the end, whatever happens.
    """

    def __init__(
        self,
        first: bytes,
        rest: AsyncGenerator[bytes, None],
        *,
        media_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(rest, headers=headers, media_type=media_type)
        self._first, self._rest = first, rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request; a connection on which this returns too early is closed."""
        try:
            # Whatever happens: behind it may be a snapshot that others wait for.
            async with aclosing(self._rest), watched(receive) as gone:
                await self._send(scope, gone, with_stall_limit(send))
        except GivenUp as e:
            _logger.warning("%s: given up: %s", scope["path"], e)

    async def _send(self, scope: Scope, gone: asyncio.Task[None], send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        if scope["method"] != "HEAD":
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
            async for block in self._rest:
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body"})


def with_stall_limit(send: Send) -> Send:
    """Return what sends likewise, and raises `GivenUp` when the reader takes nothing."""

    async def sent(message: Message) -> None:
        # A reader that stops reading would hold its file or snapshot open for as long as it likes.
        try:
            async with asyncio.timeout(STALL_S):
                await send(message)
        except TimeoutError as e:
            raise GivenUp(f"its reader has taken nothing for {STALL_S:g} s") from e

    return sent


class FileResponse(StreamedResponse):
    """Sends a file, or one range of it, a block at a time; memory does not grow with the file.

    Args:
        file: open, without a buffer; it is closed in the end.
        entry: what the file is; its hash is the ETag.
    """

    def __init__(self, file: io.FileIO, entry: FileEntry) -> None:
        name = quote(entry.name.rpartition("/")[2])
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": f'"{entry.sha256}"',
            "Content-Disposition": f"attachment; filename*=utf-8''{name}",
        }
        self._file, self._entry = file, entry
        # All of it, until the request says which range it wants.
        rest = self._blocks(0, entry.size)
        super().__init__(b"", rest, headers=headers, media_type="application/octet-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        with self._file:
            try:
                first, last = self._byte_range(Headers(scope=scope))
            except HttpError as e:
                await to_response(e)(scope, receive, send)
                return
            self.headers["Content-Length"] = str(last - first)
            self._rest = self._blocks(first, last)
            await super().__call__(scope, receive, send)

    def _byte_range(self, headers: Mapping[str, str]) -> tuple[int, int]:
        """Return where to begin and where to end."""
        size = self._entry.size
        range_ = _RANGE.fullmatch(headers.get("range", ""))
        # A range of other bytes than the client has begun with would make a file of two halves.
        if range_ is None or headers.get("if-range", self.headers["ETag"]) != self.headers["ETag"]:
            return 0, size
        first, last = _bounds(range_[1], range_[2], size)
        if first >= last:
            message = f"Range: got {range_[0]}, but the file has {size} bytes"
            raise HttpError(416, message, field="Range")
        self.status_code = 206
        self.headers["Content-Range"] = f"bytes {first}-{last - 1}/{size}"
        return first, last

    async def _blocks(self, first: int, last: int) -> AsyncGenerator[bytes, None]:
        name, fd = self._entry.name, self._file.fileno()
        while first < last:
            try:
                block = await asyncio.to_thread(os.pread, fd, min(_BLOCK, last - first), first)
            except OSError as e:
                raise GivenUp(f"cannot read {name!r}: {e}") from e
            if not block:  # the client asks again, and is told what is wrong with it
                raise GivenUp(f"{name!r} has become shorter")
            first += len(block)
            yield block


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        return (max(0, size - int(last)), size) if last else (0, 0)
    return int(first), min(int(last) + 1, size) if last else size

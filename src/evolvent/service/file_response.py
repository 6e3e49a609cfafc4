"""Bytes of one open file as an answer: all, or from where a broken connection ended."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
from collections.abc import Mapping
from functools import partial
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from evolvent.service.crossing import in_files
from evolvent.service.errors import HttpError, answer
from evolvent.service.streaming import Stalled, disconnected, to_reader
from evolvent.store.files import Entry

_logger = logging.getLogger("evolvent.service")

_BLOCK = 1 << 18
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class FileResponse(Response):
    """Sends a file, or one range of it, a block at a time; memory does not grow with the file.

    Args:
        file: open, without a buffer; it is closed in the end.
        entry: what the file is; its hash is the ETag.
    """

    def __init__(self, file: io.FileIO, entry: Entry) -> None:
        name = quote(entry.name.rpartition("/")[2])
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": f'"{entry.sha256}"',
            "Content-Disposition": f"attachment; filename*=utf-8''{name}",
        }
        super().__init__(headers=headers, media_type="application/octet-stream")
        self._file = file
        self._entry = entry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        try:
            first, last = self._wanted(Headers(scope=scope))
            self.headers["Content-Length"] = str(last - first)
            start = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **start})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body"})
            else:
                await self._blocks(first, last, receive, to_reader(send))
        except HttpError as e:
            await answer(e)(scope, receive, send)
        except Stalled as e:
            _logger.warning("%r: given up: %s", self._entry.name, e)
        finally:
            self._file.close()

    def _wanted(self, headers: Mapping[str, str]) -> tuple[int, int]:
        """Return where to begin and where to end."""
        size = self._entry.size
        found = _RANGE.fullmatch(headers.get("range", ""))
        if found is None or headers.get("if-range", self.headers["ETag"]) != self.headers["ETag"]:
            return 0, size
        first, last = _bounds(found[1], found[2], size)
        if first >= last:
            raise HttpError(416, f"Range: got {found[0]}, but the file has {size} bytes")
        self.status_code = 206
        self.headers["Content-Range"] = f"bytes {first}-{last - 1}/{size}"
        return first, last

    async def _blocks(self, first: int, last: int, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(disconnected(receive))
        try:
            while first < last and not gone.done():
                block = await in_files(partial(self._read, min(_BLOCK, last - first), first))
                if not block:
                    return  # before its time: the connection ends, and the client asks again
                first += len(block)
                message = {"type": "http.response.body", "body": block, "more_body": first < last}
                await send(message)
            if self._entry.size == 0:
                await send({"type": "http.response.body"})
        finally:
            gone.cancel()

    def _read(self, length: int, at: int) -> bytes:
        try:
            return os.pread(self._file.fileno(), length, at)
        except OSError as e:
            _logger.warning("cannot read %r: %s", self._entry.name, e)
            return b""


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        return (max(0, size - int(last)), size) if last else (0, 0)
    return int(first), min(int(last) + 1, size) if last else size

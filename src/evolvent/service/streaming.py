"""Answers that are sent block by block, to readers who go on reading."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

STALL_S = 30.0
"""For so long a reader may keep one block waiting: behind it there is a file, or a snapshot."""

_logger = logging.getLogger("evolvent.service")


class Stalled(Exception):
    """The reader has taken nothing for too long."""


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
        gone = asyncio.ensure_future(disconnected(receive))
        try:
            async with aclosing(self._rest):
                await self._send(scope, gone, to_reader(send))
        except Stalled as e:
            _logger.warning("%s: given up: %s", scope["path"], e)
        finally:
            gone.cancel()

    async def _send(self, scope: Scope, gone: asyncio.Future[None], send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        if scope["method"] != "HEAD":
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
            async for block in self._rest:
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body"})


def to_reader(send: Send) -> Send:
    """Return what sends likewise, and raises `Stalled` when the reader takes nothing."""

    async def sent(message: Message) -> None:
        try:
            async with asyncio.timeout(STALL_S):
                await send(message)
        except TimeoutError as e:
            raise Stalled(f"its reader has taken nothing for {STALL_S:g} s") from e

    return sent


async def disconnected(receive: Receive) -> None:
    """Return once the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass

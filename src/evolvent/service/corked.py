"""A connection that sends the head of an answer together with what follows it."""

from __future__ import annotations

import asyncio
from typing import Any

_MOST = 8192


class Corked:
    """Stands for a transport; uvicorn writes an answer in three pieces, and this sends one.

    The head is kept until the next piece comes, be it an empty one, which is at once for all
    answers but those that are made while they are sent; for these it is with the first piece.

    Args:
        transport: of the connection.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send what was kept with this; keep the head of an answer."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and data[9:10] != b"1" and len(data) < _MOST:
            self._head = data
            return
        if data:
            self._transport.write(data)

    def close(self) -> None:
        """Send what was kept, and close."""
        self.write(b"")
        self._transport.close()

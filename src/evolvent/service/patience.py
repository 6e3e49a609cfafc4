"""Connections that are given up on: whoever opens one and does not get on with the request.

Without this a single machine could hold thousands of half-sent requests open for nothing. Long
answers, and clients that wait for one, are not touched.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from evolvent.service.corked import Corked
from evolvent.service.errors import told
from evolvent.service.quick import QuickConnection

HEADERS_S = 15.0
"""From the first byte of a request (or the connection) to the end of its headers."""

BODY_IDLE_S = 30.0
"""Between two pieces of a body, while the service is ready to take them."""

_MOST_HEAD = 1 << 16


class PatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, with an end to its patience."""

    headers_s = HEADERS_S
    body_idle_s = BODY_IDLE_S
    _timer: asyncio.TimerHandle | None = None

    def __init__(self, config: uvicorn.Config, *args: Any, **named: Any) -> None:
        super().__init__(config, *args, **named)
        self.conn = QuickConnection(h11.SERVER, config.h11_max_incomplete_event_size or _MOST_HEAD)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast("asyncio.Transport", Corked(transport)))
        self._wait_for(self.headers_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        match self.conn.their_state:
            case h11.SEND_BODY:
                self._stop_waiting()
                self._wait_for(self.body_idle_s)
            case h11.IDLE if data:
                if self._timer is None:  # the clock runs from the first byte
                    self._wait_for(self.headers_s)
            case _:
                self._stop_waiting()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the shape of all errors."""
        response = told(400, "BadRequest", f"request: {msg}", field="request")
        headers = [*response.raw_headers, (b"connection", b"close")]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _wait_for(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self.flow.read_paused:  # it is us who do not get on
            self._wait_for(self.body_idle_s)
        elif not self.transport.is_closing():
            self.transport.close()

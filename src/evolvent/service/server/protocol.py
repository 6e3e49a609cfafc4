"""Connections that are given up on: whoever opens one and does not get on with the request.

Without this a single machine could hold thousands of half-sent requests open for nothing. Long
answers, and clients that wait for one, are not touched.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from evolvent.service.web.errors import error_body

HEADERS_S = 15.0
"""From the first byte of a request (or the connection) to the end of its headers."""

BODY_IDLE_S = 30.0
"""Between two pieces of a body, while the service is ready to take them."""

WRITE_S = 60.0
"""For a client to take what waits for it."""

MOST_HEAD = 1 << 16
"""Bytes of an address and headers together."""


class _Bound(Enum):
    """What is to come next on a connection."""

    HEAD = auto()
    BODY = auto()
    NOTHING = auto()


class TimeoutProtocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, with an end to its patience and to what it takes in.

    One request at a time: what comes behind one that is not answered yet is thrown away, and the
    connection ends with the answer. So nothing piles up, and a client that goes away is noticed.
    """

    headers_s = HEADERS_S
    body_idle_s = BODY_IDLE_S
    write_s = WRITE_S
    _timer: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _part = _Bound.HEAD
    _deaf = False
    _n_unseen = 0  # bytes that the parser has taken in and told nothing of
    _refusal: tuple[int, str] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for(self.headers_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._flows()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._flows()
        super().resume_writing()

    def _flows(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._n_unseen += len(data)
        super().data_received(data)
        if self.transport.is_closing() or self._deaf:
            return
        if self._n_unseen > MOST_HEAD:
            self.send_400_response(str(self._too_long()))
        elif self._part is _Bound.BODY and self._is_answering():
            self._stop_waiting()
            self._wait_for(self.body_idle_s)
        elif self._is_answering():
            self._stop_waiting()
        elif self._timer is None:  # of a head from its first byte on; of a body nobody waits for
            self._wait_for(self.headers_s)

    def on_message_begin(self) -> None:
        if self._is_answering():
            raise self._refused(400, "one request at a time")
        self._part, self._n_unseen = _Bound.HEAD, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._part is not _Bound.HEAD:
            raise self._refused(400, "a trailer, wanted none")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Refuse a head that no service behind a proxy should guess the meaning of."""
        n_bytes = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if n_bytes > MOST_HEAD:
            raise self._too_long()
        n_hosts = sum(name == b"host" for name, _ in self.headers)
        if n_hosts != 1 and self.parser.get_http_version() != "1.0":
            raise self._refused(400, f"got {n_hosts} Host headers, wanted one")
        super().on_headers_complete()
        self._stop_waiting()
        self._part, self._n_unseen = _Bound.BODY, 0

    def on_body(self, body: bytes) -> None:
        self._n_unseen = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._part, self._n_unseen = _Bound.NOTHING, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or too much of it, in the shape of all errors."""
        if self._is_answering() and (self._part is _Bound.NOTHING or self.cycle.response_started):
            self._deaf = True
            self.cycle.keep_alive = False
            return
        if self._part is _Bound.BODY and not self._is_answering():  # has been answered already
            self.transport.close()
            return
        status, message = self._refusal or (400, msg)
        response = error_body(status, "BadRequest", f"request: {message}", field="request")
        headers = [*response.raw_headers, (b"connection", b"close")]
        lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], lines, bytes(response.body)))
        self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _too_long(self) -> ValueError:
        return self._refused(431, f"its address and headers are longer than {MOST_HEAD} bytes")

    def _refused(self, status: int, message: str) -> ValueError:
        """Return what, raised within the parser, makes uvicorn ask for our answer."""
        self._refusal = status, message
        return ValueError(message)

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

"""Connections that are given up on: whoever opens one and does not get on with the request.

Without this a single machine could hold thousands of half-sent requests open for nothing. Long
answers, and clients that wait for one, are not touched.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from itertools import chain
from operator import itemgetter

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from evolvent.service.web.errors import error_body

MOST_HEAD = 1 << 16
"""Bytes of a URL and headers together."""


class _Expected(Enum):
    """What is to come next on a connection."""

    HEAD = auto()
    BODY = auto()
    NOTHING = auto()


class TimeoutProtocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, with an end to its patience and to what it takes in.

    One request at a time: what comes behind one that is not answered yet is thrown away, and the
    connection ends with the answer. So nothing piles up, and a client that goes away is noticed.
    """

    headers_s = 15.0  # from the first byte of a request, or the connection, to its headers' end
    body_idle_s = 30.0  # between two pieces of a body, while the service is ready to take them
    write_s = 60.0  # for a client to take what waits for it
    _read_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _expected = _Expected.HEAD
    _ignores_input = False
    _n_unparsed = 0  # bytes that the parser has taken in and told nothing of
    _parse_error: tuple[int, str] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_read_timer(self.headers_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_read_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        # Aborted, not closed: closing would wait for the client to take what it does not take.
        self._write_timer = self.loop.call_later(self.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_write_timer()
        super().resume_writing()

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def data_received(self, data: bytes) -> None:
        # What was no HTTP came behind a request that is being answered: that answer is the last.
        if self._ignores_input:
            return
        self._n_unparsed += len(data)
        super().data_received(data)
        if self.transport.is_closing() or self._ignores_input:
            return
        answering = self._is_answering()
        # The parser keeps what it cannot use yet: a head without an end would grow for ever.
        if self._n_unparsed > MOST_HEAD:
            self.send_400_response(str(self._too_long()))
        elif answering:
            self._stop_read_timer()
            # Anew with every piece: a body may take hours, a silence may not.
            if self._expected is _Expected.BODY:
                self._start_read_timer(self.body_idle_s)
        elif self._read_timer is None:
            # Not anew with every byte: a head that comes byte by byte must not hold the connection.
            # Nor may a body that nobody waits for, as its request has been answered.
            self._start_read_timer(self.headers_s)

    def on_message_begin(self) -> None:
        # Answers to what is sent ahead would pile up, and nobody would notice a client that leaves.
        if self._is_answering():
            raise self._parse_failure(400, "one request at a time")
        self._expected, self._n_unparsed = _Expected.HEAD, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Refuse a head that no service behind a proxy should guess the meaning of."""
        n_bytes = len(self.url) + sum(map(len, chain.from_iterable(self.headers)))
        if n_bytes > MOST_HEAD:
            raise self._too_long()
        n_hosts = list(map(itemgetter(0), self.headers)).count(b"host")
        if n_hosts != 1 and self.parser.get_http_version() != "1.0":
            raise self._parse_failure(400, f"got {n_hosts} Host headers, wanted one")
        super().on_headers_complete()
        # Behind the body the request is long being answered: what comes there, it shall not see.
        self.headers = []
        self._expected, self._n_unparsed = _Expected.BODY, 0

    def on_body(self, body: bytes) -> None:
        self._n_unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.headers:
            raise self._parse_failure(400, "a trailer, wanted none")
        self._expected, self._n_unparsed = _Expected.NOTHING, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or too much of it, in the shape of all errors."""
        if self._is_answering() and (
            self._expected is _Expected.NOTHING or self.cycle.response_started
        ):
            self._ignores_input = True
            self.cycle.keep_alive = False
            return
        # Its request has been answered before the body was there: one answer is enough.
        if self._expected is _Expected.BODY and not self._is_answering():
            self.transport.close()
            return
        status, message = self._parse_error or (400, msg)
        response = error_body(status, "BadRequest", f"request: {message}", field="request")
        headers = [*response.raw_headers, (b"connection", b"close")]
        lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], lines, bytes(response.body)))
        self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _too_long(self) -> ValueError:
        return self._parse_failure(
            431, f"its address and headers are longer than {MOST_HEAD} bytes"
        )

    def _parse_failure(self, status: int, message: str) -> ValueError:
        """Return what, raised within the parser, makes uvicorn ask for our answer."""
        self._parse_error = status, message
        return ValueError(message)

    def _start_read_timer(self, seconds: float) -> None:
        self._read_timer = self.loop.call_later(seconds, self._read_timed_out)

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _read_timed_out(self) -> None:
        self._read_timer = None
        # It is us who do not get on: a slow disk is no reason to give the sender up.
        if self.flow.read_paused:
            self._start_read_timer(self.body_idle_s)
        elif not self.transport.is_closing():
            self.transport.close()

"""Plain requests are read without h11, and to the same effect; all others by h11 itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.store.connect import open_store
from tests.service.threaded import Service, service

# isort: split
import h11

from evolvent.service.corked import Corked
from evolvent.service.quick import QuickConnection

PLAIN = (
    b"POST /api/v1/studies/1/claim?a=%20b HTTP/1.1\r\nHost: h:1\r\nAuthorization: Bearer evt_Ab\r\n"
    b"Content-Length: 4\r\n\r\nbody"
)
NOT_PLAIN = {
    "no host": PLAIN.replace(b"Host: h:1\r\n", b""),
    "two hosts": PLAIN.replace(b"Host: h:1\r\n", b"Host: h:1\r\nHost: i\r\n"),
    "two lengths": PLAIN.replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\n"),
    "other lengths": PLAIN.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n"),
    "signed length": PLAIN.replace(b"Length: 4", b"Length: +4"),
    "chunked and a length": PLAIN.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "old": PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "other method": PLAIN.replace(b"POST", b"PUT"),
    "blank before the colon": PLAIN.replace(b"Host:", b"Host :"),
    "folded header": PLAIN.replace(b"h:1\r\n", b"h:1\r\n more\r\n"),
    "bare line feed": PLAIN.replace(b"h:1\r\n", b"h:1\n"),
    "nul in a header": PLAIN.replace(b"evt_Ab", b"evt_\0b"),
    "blank in the target": PLAIN.replace(b"%20b", b" b"),
    "closes": PLAIN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
    "waits for leave": PLAIN.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
    "body to come": PLAIN[:-1],
    "two at once": PLAIN + PLAIN,
    "half of it": PLAIN[:40],
    "no HTTP": b"hello\r\n\r\n",
}
OK = h11.Response(status_code=200, headers=[("content-length", "2")], reason=b"OK")


def told(connection: h11.Connection) -> list[Any]:
    """Return what a connection tells until it wants more, or finds a fault."""
    events: list[Any] = []
    try:
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                headers = [(name.lower(), value) for name, value in event.headers]
                events.append((event.method, event.target, event.http_version, headers))
            else:
                events.append(bytes(event.data) if isinstance(event, h11.Data) else type(event))
    except h11.RemoteProtocolError as e:
        events.append(type(e))
    return events


def both(*pieces: bytes) -> tuple[list[Any], list[Any]]:
    """Return what the quick connection and h11 tell of the same bytes."""
    connections = QuickConnection(h11.SERVER), h11.Connection(h11.SERVER)
    heard: tuple[list[Any], list[Any]] = [], []
    for connection, events in zip(connections, heard, strict=True):
        for piece in pieces:
            connection.receive_data(piece)
            events.extend(told(connection))
            if h11.RemoteProtocolError in events:
                break
    return heard


def quick() -> QuickConnection:
    return QuickConnection(h11.SERVER)


def test_a_plain_request_is_told_as_h11_does() -> None:
    connection = quick()
    connection.receive_data(PLAIN)
    assert connection.their_state is h11.SEND_BODY
    assert told(connection)[0][1] == b"/api/v1/studies/1/claim?a=%20b"
    assert connection.trailing_data == (b"", False)
    ours, theirs = both(PLAIN)
    assert ours == theirs


@pytest.mark.parametrize("which", NOT_PLAIN)
def test_any_other_request_is_left_to_h11(which: str) -> None:
    ours, theirs = both(NOT_PLAIN[which])
    assert ours == theirs


@given(st.data())
def test_what_is_told_never_differs(data: st.DataObject) -> None:
    """Bytes changed, left out or put in at any place; cut into pieces anywhere."""
    request = bytearray(PLAIN)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(request) - 1))
        new = data.draw(st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b":", b"\0", b"\x80",
                                         b"4", b"a", b"Content-Length: 1\r\n"]))  # fmt: skip
        request[at : at + data.draw(st.integers(0, 1))] = new
    cut = data.draw(st.integers(0, len(request)))
    pieces = [piece for piece in (bytes(request[:cut]), bytes(request[cut:])) if piece]
    ours, theirs = both(*pieces)
    assert ours == theirs


def test_answers_are_framed() -> None:
    connection = quick()
    connection.receive_data(PLAIN)
    told(connection)
    sent = connection.send(OK) + connection.send(h11.Data(data=b"ok"))
    sent += connection.send(h11.EndOfMessage())
    assert sent == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    assert (connection.our_state, connection.their_state) == (h11.DONE, h11.DONE)
    connection.start_next_cycle()
    assert (connection.our_state, connection.their_state) == (h11.IDLE, h11.IDLE)


def test_an_answer_of_unknown_length_comes_in_chunks() -> None:
    connection = quick()
    connection.receive_data(PLAIN)
    told(connection)
    sent = connection.send(h11.Response(status_code=200, headers=[], reason=b"OK"))
    for block in (b"one", b"", b"fourteen bytes"):
        sent += connection.send(h11.Data(data=block))
    sent += connection.send(h11.EndOfMessage())
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "h")]))
    client.send(h11.EndOfMessage())
    client.receive_data(sent)
    events = told(client)
    assert b"".join(event for event in events if isinstance(event, bytes)) == b"onefourteen bytes"
    assert events[-1] is h11.EndOfMessage


def test_an_answer_without_a_body_has_none() -> None:
    connection = quick()
    connection.receive_data(PLAIN)
    told(connection)
    sent = connection.send(h11.Response(status_code=204, headers=[], reason=b"No Content"))
    sent += connection.send(h11.EndOfMessage())
    assert sent == b"HTTP/1.1 204 No Content\r\n\r\n"


def test_the_next_request_waits_until_the_first_is_answered() -> None:
    connection = quick()
    connection.receive_data(PLAIN)
    told(connection)
    connection.receive_data(PLAIN.replace(b"body", b"next"))
    assert connection.next_event() is h11.PAUSED
    connection.send(OK)
    connection.send(h11.Data(data=b"ok"))
    connection.send(h11.EndOfMessage())
    connection.start_next_cycle()
    assert told(connection)[1] == b"next"


def test_a_connection_that_ends_within_a_request_is_h11_s_to_end() -> None:
    connection = quick()
    connection.receive_data(PLAIN)
    connection.send(h11.ConnectionClosed())
    assert connection.our_state is h11.CLOSED


class Transport:
    """Notes what is sent, and when it is closed."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def test_head_and_body_go_out_together() -> None:
    transport = Transport()
    corked = Corked(transport)  # type: ignore[arg-type]  # all that is asked of it
    for piece in (b"HTTP/1.1 200 OK\r\n\r\n", b"body", b"", b"more"):
        corked.write(piece)
    assert transport.sent == [b"HTTP/1.1 200 OK\r\n\r\nbody", b"more"]
    corked.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    corked.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    corked.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    corked.close()
    assert b"".join(transport.sent[2:]).count(b"HTTP/1.1") == 3
    assert corked.is_closing()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Service]:
    store = open_store("memory://")
    with service(store) as made:
        yield made
    store.close()


def test_requests_in_a_row_are_answered_in_their_order(running: Service) -> None:
    token = running.token().encode()
    targets = [b"/health", b"/api/v1/studies", b"/api/v1/studies/7", b"/health"]
    request = b"GET %b HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %b\r\n\r\n"
    parts = urlsplit(running.url)
    for together in (True, False):
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            requests = [request % (target, token) for target in targets]
            requests[-1] = requests[-1].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            for piece in [b"".join(requests)] if together else requests:
                connection.sendall(piece)
            told = b""
            while part := connection.recv(1 << 16):
                told += part
        statuses = [line[9:12] for line in told.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
        assert statuses == [b"200", b"200", b"404", b"200"]

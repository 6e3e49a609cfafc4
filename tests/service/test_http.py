"""HTTP itself: what is a request, how long one may be, and what comes in a row."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from evolvent.store.connect import open_store
from tests.service.threaded import Service, service

# isort: split
from evolvent.service.patience import MOST_HEAD

CLAIM = (
    b"POST /api/v1/studies/1/claim HTTP/1.1\r\nHost: h:1\r\nConnection: close\r\n"
    b"Content-Length: 4\r\n\r\nbody"
)
NO_REQUESTS = {
    "no host": CLAIM.replace(b"Host: h:1\r\n", b""),
    "two hosts": CLAIM.replace(b"Host: h:1\r\n", b"Host: h:1\r\nHost: i\r\n"),
    "two lengths": CLAIM.replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\n"),
    "other lengths": CLAIM.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n"),
    "signed length": CLAIM.replace(b"Length: 4", b"Length: +4"),
    "chunked and a length": CLAIM.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "blank before the colon": CLAIM.replace(b"Host:", b"Host :"),
    "folded header": CLAIM.replace(b"h:1\r\n", b"h:1\r\n more\r\n"),
    "bare line feed": CLAIM.replace(b"h:1\r\n", b"h:1\n"),
    "nul in a header": CLAIM.replace(b"h:1", b"h\0:1"),
    "blank in the target": CLAIM.replace(b"/claim", b"/cl aim"),
    "target not of ASCII": CLAIM.replace(b"/claim", b"/cl\xc3\xa4im"),
    "no HTTP": b"hello\r\n\r\n",
}


@pytest.fixture
def running() -> Iterator[Service]:
    store = open_store("memory://")
    with service(store) as made:
        yield made
    store.close()


def told(running: Service, *pieces: bytes) -> bytes:
    """Send bytes, piece by piece, and return all that is answered until the connection ends."""
    parts = urlsplit(running.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def status(answer: bytes) -> int:
    return int(answer.split(None, 2)[1])


def test_what_is_left_alone_here_would_be_a_request(running: Service) -> None:
    assert status(told(running, CLAIM)) == 401  # understood, and without a token


@pytest.mark.parametrize("which", NO_REQUESTS)
def test_what_two_readers_could_read_differently_is_refused(which: str, running: Service) -> None:
    """A proxy before the service and the service itself must agree where a request ends."""
    answer = told(running, NO_REQUESTS[which])
    head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert (status(head), json.loads(body)["error"]["field"]) == (400, "request")
    assert b"connection: close" in head


@pytest.mark.parametrize("cut", [0, 30])
def test_a_head_too_long_is_refused(cut: int, running: Service) -> None:
    long = CLAIM.replace(b"h:1\r\n", b"h:1\r\nX: %b\r\n" % (b"x" * MOST_HEAD))
    answer = told(running, long[:cut], long[cut:])
    assert status(answer) == 431
    assert str(MOST_HEAD).encode() in answer


def test_a_header_that_never_ends_is_not_waited_for(running: Service) -> None:
    endless = CLAIM.partition(b"h:1\r\n")[0] + b"x" * (3 * MOST_HEAD)
    parts = urlsplit(running.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        connection.sendall(endless[:MOST_HEAD])
        connection.sendall(b"x")
        assert status(connection.recv(1 << 16)) == 431


@pytest.mark.parametrize("together", [True, False])
def test_requests_in_a_row_are_answered_in_their_order(together: bool, running: Service) -> None:
    token = running.token().encode()
    targets = [b"/health", b"/api/v1/studies", b"/api/v1/studies/7", b"/health"]
    request = b"GET %b HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %b\r\n\r\n"
    requests = [request % (target, token) for target in targets]
    requests[-1] = requests[-1].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answers = told(running, *([b"".join(requests)] if together else requests))
    assert re.findall(rb"HTTP/1\.1 (\d+)", answers) == [b"200", b"200", b"404", b"200"]

"""HTTP itself: what is a request, how long one may be, and what comes in a row."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from urllib.parse import urlsplit

import psutil
import pytest

from evolvent.core.algorithms import PBT
from evolvent.core.distributions import Uniform
from evolvent.core.space import Space
from evolvent.core.study import StudyRecord
from evolvent.store.connect import open_store
from evolvent.store.protocol import Store
from tests.service.served import until
from tests.service.threaded import Service, service

# isort: split
from evolvent.service.server.protocol import MOST_HEAD

CLAIM = (
    b"POST /api/v1/studies/1/claim HTTP/1.1\r\nHost: h:1\r\nConnection: close\r\n"
    b"Content-Length: 4\r\n\r\nbody"
)
WAIT_S = 60
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


def connected(running: Service) -> socket.socket:
    parts = urlsplit(running.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def told(running: Service, *pieces: bytes) -> bytes:
    """Send bytes, piece by piece, and return all that is answered until the connection ends."""
    with connected(running) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.1)  # so that pieces come as such
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
    began = CLAIM.partition(b"h:1\r\n")[0]
    assert status(told(running, began, b"x" * MOST_HEAD + b"x")) == 431


HEALTH = b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", answers)]


def test_requests_one_after_the_other_share_a_connection(running: Service) -> None:
    parts, sockets = urlsplit(running.url), set()
    with closing(http.client.HTTPConnection(str(parts.hostname), parts.port)) as connection:
        for target, wanted in [("/health", 200), ("/nowhere", 401), ("/health", 200)]:
            connection.request("GET", target)
            response = connection.getresponse()
            response.read()
            assert response.status == wanted
            sockets.add(connection.sock)
    assert len(sockets) == 1


def test_only_the_first_of_requests_sent_at_once_is_answered(running: Service) -> None:
    """Nothing piles up behind an answer; whoever sends so must be ready to send again."""
    assert statuses(told(running, HEALTH * 3)) == [200]
    assert statuses(told(running, HEALTH + b"no HTTP at all")) == [200]


def test_a_client_that_goes_away_is_noticed_whatever_it_sent_behind_its_request(
    running: Service,
) -> None:
    study = busy_study(running.store)
    wish = json.dumps({"worker": "gone", "wait_s": WAIT_S, "lease_s": 600}).encode()
    with connected(running) as connection:
        client = connection.getsockname()
        connection.sendall(
            b"POST /api/v1/studies/%d/claim HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %b\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (study, running.token().encode(), len(wish), wish)
        )
        connection.sendall(HEALTH * 20_000)
    # A job that came before the service had read all this could go to nobody but the one who asked.
    began = time.monotonic()
    until(lambda: not is_served(client), what="the service to notice")
    assert time.monotonic() - began < WAIT_S / 2, "noticed when the wait was over only"
    running.store.push(study, {"lr": 0.5})
    assert running.store.claim(study, worker="here", lease_s=600.0) is not None


def is_served(client: tuple[str, int]) -> bool:
    """Whether this process, which is the service too, has a connection that ends at a client."""
    return any(connection.raddr == client for connection in psutil.Process().net_connections())


def busy_study(store: Store) -> int:
    """Make a study whose only job is running."""
    record = StudyRecord(
        name="s", metric="loss", mode="min", space=Space({"lr": Uniform(0.0, 1.0)}),
        algorithm=PBT(), population=1, rounds=2,
    )  # fmt: skip
    study = store.create_study(record)
    assert store.claim(study, worker="other", lease_s=600.0) is not None
    return study


@pytest.mark.parametrize(
    "trailer",
    [b"Authorization: Bearer %b\r\n\r\n", b"X-Forwarded-For: 1.2.3.4\r\n\r\n", b"x" * 500_000],
)
def test_trailers_are_no_headers(trailer: bytes, running: Service) -> None:
    token = running.token().encode()
    head = b"GET /api/v1/studies HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    with connected(running) as connection, suppress(OSError):
        connection.sendall(head + trailer.replace(b"%b", token))
        assert status(connection.recv(1 << 16)) in {400, 401}


def test_a_long_body_is_not_taken_for_a_long_head(running: Service) -> None:
    body = b"{" + b" " * 90_000 + b"}"
    with connected(running) as connection:
        connection.sendall(
            b"POST /api/v1/studies HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%bGET /hea"
            % (len(body), body)
        )
        answers = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert statuses(answers) == [401]

"""Readers who stop reading, and work that takes long: nobody else waits for them."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from evolvent.store.archive.manifest import MEDIA_TYPE
from evolvent.store.connect import open_store
from evolvent.store.records import Report
from tests.service.served import until
from tests.service.threaded import Service, service
from tests.settings import study_record

# isort: split
from evolvent.service.web import streaming
from evolvent.service.web.threads import MOST_SNAPSHOTS

SIZE = 32 << 20  # more than all buffers between a service and its client together
STALL_S = 0.4
DUMP = "/studies/1/dump?checkpoints=best"
EMPTY_DUMP = "/studies/1/dump?checkpoints=none"
CLAIM = {"worker": "w", "lease_s": 60, "prefer": 0, "wait_s": 0, "key": "k"}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Service]:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with contextlib.closing(open_store(url)) as store, service(store) as made:
        study = store.create_study(study_record())
        lease = store.claim(study, worker="w", lease_s=900)
        assert lease is not None
        checkpoints = store.checkpoints(study)
        staged = checkpoints.stage("large")
        (staged / "weights").write_bytes(bytes(SIZE))
        store.report(lease, Report(1.0, {"score": 1.0}, checkpoints.seal(staged), ()))
        yield made


class Asking:
    """Sends requests with one token."""

    def __init__(self, running: Service, token: str | None = None) -> None:
        parts = urlsplit(running.url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._place = parts.hostname, parts.port
        self._token = token or running.token()

    def open(self, method: str, path: str, *headers: str) -> socket.socket:
        """Send the head of a request; its answer is not read."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
        connection.settimeout(30)
        connection.connect(self._place)
        lines = [
            f"{method} /api/v1{path} HTTP/1.1", "Host: h", f"Authorization: Bearer {self._token}",
            *headers, "", "",
        ]  # fmt: skip
        connection.sendall("\r\n".join(lines).encode())
        return connection

    def ask(
        self, method: str, path: str, body: Any = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """Send bytes as a study, anything else as JSON; return the answer and its content."""
        connection = http.client.HTTPConnection(*self._place, timeout=30)
        kind = MEDIA_TYPE if isinstance(body, bytes) else "application/json"
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        with contextlib.closing(connection):
            given = body if body is None or isinstance(body, bytes) else json.dumps(body)
            connection.request(method, f"/api/v1{path}", given, headers)
            response = connection.getresponse()
            return response, response.read()

    def status(self, method: str, path: str, body: Any = None) -> int:
        return self.ask(method, path, body)[0].status


@pytest.fixture
def asking(running: Service) -> Asking:
    return Asking(running)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "STALL_S", STALL_S)


def n_streams() -> int:
    return sum(t.name.startswith("evolvent-stream") for t in threading.enumerate())


def n_open(name: str) -> int:
    """Return how many files of a name this process has open."""
    return sum(file.path.endswith(name) for file in psutil.Process().open_files())


def rest(reader: socket.socket) -> bytes:
    with contextlib.suppress(ConnectionResetError):
        return b"".join(iter(lambda: reader.recv(1 << 20), b""))
    return b""


@pytest.mark.usefixtures("impatient")
def test_a_reader_who_takes_nothing_of_a_study_is_given_up(asking: Asking) -> None:
    with asking.open("GET", DUMP) as reader:
        until(n_streams, what="the stream to begin")
        until(lambda: n_streams() == 0, what="the stream to be given up")
        got = rest(reader)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert len(got) < SIZE
    assert not got.endswith(b"0\r\n\r\n")  # so no client takes it for whole


@pytest.mark.usefixtures("impatient")
def test_a_reader_who_takes_nothing_of_a_file_is_given_up(running: Service, asking: Asking) -> None:
    [job] = running.store.jobs(1)[:1]
    with asking.open("GET", f"/studies/1/checkpoints/{job.checkpoint}/files/0") as reader:
        until(lambda: n_open("/weights"), what="the file to be opened")
        until(lambda: n_open("/weights") == 0, what="the file to be given up")
        assert len(rest(reader)) < SIZE


def test_a_stream_ends_when_its_reader_goes_away(asking: Asking) -> None:
    with asking.open("GET", DUMP):
        until(n_streams, what="the stream to begin")
    until(lambda: n_streams() == 0, what="the stream to end")


def test_a_study_is_told_of_without_being_taken_out(asking: Asking) -> None:
    assert asking.status("HEAD", DUMP) == 200
    until(lambda: n_streams() == 0, what="the stream to end")


def test_few_studies_are_taken_out_at_a_time(running: Service, asking: Asking) -> None:
    with contextlib.ExitStack() as readers:
        for _ in range(MOST_SNAPSHOTS):
            readers.enter_context(asking.open("GET", DUMP))
        until(lambda: n_streams() == MOST_SNAPSHOTS, what="the streams to begin")
        refused, _ = asking.ask("GET", DUMP)
        assert (refused.status, refused.getheader("Retry-After")) == (503, "1")
        assert asking.status("GET", "/studies/1/jobs") == 200
        assert asking.status("POST", "/studies/1/claim", CLAIM) == 200
    until(lambda: n_streams() == 0, what="the streams to end")
    assert asking.status("GET", DUMP) == 200


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("POST", "/studies/1/collect", "collect"),
        ("DELETE", "/studies/2", "delete_study"),
        ("POST", "/restore", "restore"),
    ],
)
def test_work_that_takes_long_keeps_no_claim_waiting(
    method: str,
    path: str,
    call: str,
    running: Service,
    asking: Asking,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n, go = 6, threading.Event()
    begun = threading.Semaphore(0)
    body = asking.ask("GET", EMPTY_DUMP)[1] if call == "restore" else None

    def long(*_: Any, **__: Any) -> int:
        begun.release()
        assert go.wait(30)
        return 0

    monkeypatch.setattr(running.store, call, long)
    with ThreadPoolExecutor(n + 1) as threads:
        asked = [threads.submit(asking.status, method, path, body) for _ in range(n)]
        try:
            assert all(begun.acquire(timeout=30) for _ in range(4))
            claimed = threads.submit(asking.status, "POST", "/studies/1/claim", CLAIM)
            assert claimed.result(timeout=10) == 200
        finally:
            go.set()
        assert {answer.result() for answer in asked} <= {200, 201, 204}


def test_a_token_for_one_study_is_refused_before_a_study_is_taken_in(running: Service) -> None:
    bound = Asking(running, running.token("admin", study="digits"))
    headers = f"Content-Type: {MEDIA_TYPE}", f"Content-Length: {10**10}"
    with bound.open("POST", "/restore", *headers) as sender:
        assert sender.recv(1 << 16).startswith(b"HTTP/1.1 403 ")

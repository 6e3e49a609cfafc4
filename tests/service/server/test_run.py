"""The service as a process: it drains on SIGTERM, gives up on the slow, and speaks TLS."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from evolvent.store.connect import open_store
from evolvent.store.tokens import tokens_of
from tests.needs import needs
from tests.service.certificate import certificate as make_certificate
from tests.service.served import Served, heard, served, until

needs("uvicorn")

QUICK_S = 3.0
"""Far less than what is waited for where nobody sends a waiting client home."""


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture
def token(store: str) -> str:
    opened = open_store(store)
    secret, _ = tokens_of(opened).create("admin")
    ev.create_study(
        "hill", metric="score", mode="max", space={"lr": ev.LogUniform(1e-4, 1)}, population=1,
        rounds=1, store=opened,
    )  # fmt: skip
    opened.close()
    return secret


@pytest.fixture
def running(store: str, token: str, tmp_path: Path) -> Iterator[Served]:
    with served(store, tmp_path) as running:
        yield running


def claim(running: Served, token: str, **body: Any) -> tuple[int, Any]:
    wish = {"worker": "w", "lease_s": 60, **body}
    return running.ask("POST", "/api/v1/studies/1/claim", wish, token=token)


def request(body: bytes, token: str, *, path: str = "/api/v1/studies/1/stop") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: host\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


# --- the end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_service_ends_with_0(number: int, running: Served) -> None:
    running.signal(number)
    assert running.wait() == 0
    assert "stopped" in running.said()
    assert "Traceback" not in running.said()


def test_a_request_that_is_being_sent_is_finished_and_nothing_new_accepted(
    running: Served, token: str
) -> None:
    sent = request(json.dumps({"reason": "enough"}).encode(), token)
    with running.open() as connection:
        connection.sendall(sent[:-5])
        assert running.ask("GET", "/health")[0] == 200
        running.signal()
        until(lambda: not running.accepts(), what="the service to accept no more")
        connection.sendall(sent[-5:])
        answer = heard(connection)
    assert answer.startswith(b"HTTP/1.1 204")
    assert running.wait() == 0


def test_a_worker_that_waits_for_a_job_is_sent_home_at_once(running: Served, token: str) -> None:
    assert claim(running, token)[0] == 200  # the only job
    answers: list[Any] = []
    waiting = threading.Thread(
        target=lambda: answers.append(claim(running, token, wait_s=60, worker="v"))
    )
    waiting.start()
    assert running.ask("GET", "/api/v1/studies/1", token=token)[0] == 200
    until(lambda: waiters(running) > 1, what="a connection that waits")
    began = time.monotonic()
    running.signal()
    assert running.wait() == 0
    waiting.join()
    assert time.monotonic() - began < QUICK_S
    assert answers == [(204, None)]


def waiters(running: Served) -> int:
    """Return how many clients are connected."""
    psutil = needs("psutil")
    found = psutil.Process(running.process.pid).net_connections("tcp")
    return sum(it.status in ("ESTABLISHED", "LISTEN") for it in found)


def test_one_who_never_finishes_holds_it_no_longer_than_it_was_told(
    store: str, token: str, tmp_path: Path
) -> None:
    with served(store, tmp_path, "--drain", "1") as running, running.open() as connection:
        connection.sendall(request(b"{}", token)[:-1])
        assert running.ask("GET", "/health")[0] == 200
        began = time.monotonic()
        running.signal()
        assert running.wait() == 0
    assert 0.5 < time.monotonic() - began < 1 + QUICK_S


def test_a_second_signal_ends_it_at_once(running: Served, token: str) -> None:
    with running.open() as connection:
        connection.sendall(request(b"{}", token)[:-1])
        assert running.ask("GET", "/health")[0] == 200
        running.signal()
        until(lambda: not running.accepts(), what="the service to accept no more")
        running.signal()
        assert running.wait() == 128 + signal.SIGTERM


def test_what_was_answered_is_there_after_a_restart_also_who_signed_in(
    store: str, token: str, tmp_path: Path
) -> None:
    httpx = needs("httpx")
    with served(store, tmp_path) as running, httpx.Client() as browser:
        port = str(running.port)
        signed_in = browser.post(f"{running.url}/sign-in", data={"token": token})
        assert signed_in.status_code == 303
        assert running.ask("POST", "/api/v1/studies/1/stop", {"reason": "x"}, token=token)[0] == 204
        running.kill()
        with served(store, tmp_path, "--port", port) as again:
            assert browser.get(f"{again.url}/api/v1/studies").status_code == 200
            status = again.ask("GET", "/api/v1/studies/1", token=token)[1]
            assert status["stopped"] == "x"


# --- who is at the other end -------------------------------------------------------------------


def test_a_revoked_token_is_refused_by_a_service_that_is_running(
    running: Served, store: str, token: str
) -> None:
    assert running.ask("GET", "/api/v1/studies", token=token)[0] == 200
    opened = open_store(store)
    tokens_of(opened).revoke(token)
    opened.close()
    assert running.ask("GET", "/api/v1/studies", token=token)[0] == 401


@pytest.mark.parametrize("trusted", [False, True])
def test_a_forwarded_address_counts_if_it_comes_from_a_proxy_that_is_trusted(
    trusted: bool, store: str, token: str, tmp_path: Path
) -> None:
    httpx = needs("httpx")
    options = ("--trust-proxy", "127.0.0.1") if trusted else ()
    with served(store, tmp_path, *options) as running, httpx.Client() as client:
        for _ in range(11):
            wrong = {"Authorization": "Bearer evt_x", "X-Forwarded-For": "192.0.2.1"}
            last = client.get(f"{running.url}/api/v1/studies", headers=wrong)
        other = {"Authorization": "Bearer evt_x", "X-Forwarded-For": "192.0.2.2"}
        next_one = client.get(f"{running.url}/api/v1/studies", headers=other)
        cookie = client.post(
            f"{running.url}/sign-in", data={"token": token}, headers={"X-Forwarded-Proto": "https"}
        ).headers["set-cookie"]
    assert last.status_code == 429
    assert next_one.status_code == (401 if trusted else 429)
    assert ("secure" in cookie.lower()) is trusted


# --- TLS ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a certificate for localhost and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


def test_it_speaks_tls_and_its_cookies_are_secure(
    certificate: tuple[Path, Path], store: str, token: str, tmp_path: Path
) -> None:
    httpx = needs("httpx")
    cert, key = certificate
    options = ("--certfile", str(cert), "--keyfile", str(key), "--host", "0.0.0.0")
    trusting = ssl.create_default_context(cafile=str(cert))
    with served(store, tmp_path, *options) as running, httpx.Client(verify=trusting) as client:
        url = f"https://localhost:{running.port}"
        assert running.url.startswith("https://")
        assert client.get(f"{url}/health").status_code == 200
        cookie = client.post(f"{url}/sign-in", data={"token": token}).headers["set-cookie"]
        assert client.get(f"{url}/api/v1/studies").status_code == 200
        assert "warning" not in running.said()
    assert cookie.startswith("__Host-evolvent")
    assert "secure" in cookie.lower()


# --- the slow ----------------------------------------------------------------------------------


class Impatient:
    """A service in this process whose patience is short."""

    def __init__(self, store: str) -> None:
        from evolvent.service.app import create_app  # noqa: PLC0415 - needs the extra
        from evolvent.service.server.protocol import TimeoutProtocol  # noqa: PLC0415
        from evolvent.service.server.run import DrainingServer, listener, uvicorn_config  # noqa: PLC0415
        from evolvent.service.settings import ServiceSettings  # noqa: PLC0415

        class Protocol(TimeoutProtocol):
            headers_s = body_idle_s = write_s = 0.2

            def connection_made(self, transport: Any) -> None:
                small = (socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                transport.get_extra_info("socket").setsockopt(*small)
                super().connection_made(transport)

        settings = ServiceSettings(port=0)
        self.store = open_store(store)
        self._ready = threading.Event()
        app = create_app(self.store, tokens=tokens_of(self.store), settings=settings)
        config = uvicorn_config(app, settings)
        config.http = Protocol
        self._bound = listener(settings)
        self.address = self._bound.getsockname()
        self._server = DrainingServer(
            config, ready=self._ready.set, stopping=app.state.stop_waiting
        )
        self._thread = threading.Thread(target=self._server.run, args=([self._bound],))
        self._thread.start()
        assert self._ready.wait(30)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.store.close()


@pytest.fixture
def impatient(store: str, token: str) -> Iterator[Impatient]:
    made = Impatient(store)
    yield made
    made.close()


def drip(connection: Any, data: bytes, *, before: bytes = b"") -> None:
    """Send bytes one by one until the other side has had enough."""
    connection.sendall(before)
    for byte in data:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


@pytest.mark.parametrize(
    "case",
    ["nothing", "headers that drip", "half a body", "a second one", "a line end after an answer",
     "the body of what is answered already"],
)  # fmt: skip
def test_one_who_does_not_get_on_is_cut_off(case: str, impatient: Impatient, token: str) -> None:
    with socket.create_connection(impatient.address, timeout=10) as connection:
        match case:
            case "headers that drip":
                with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe, as it comes
                    drip(connection, request(b"{}", token))
            case "half a body":
                connection.sendall(request(b"{}", token)[:-1])
            case "a second one":
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
                assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
                connection.sendall(b"GET /health HTTP/1.1\r\nHo")
            case "a line end after an answer":
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
                assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
                connection.sendall(b"\r\n")
            case "the body of what is answered already":
                with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe, as it comes
                    drip(
                        connection,
                        b" " * 199,
                        before=request(b"{" + b" " * 200, "evt_wrong")[:-200],
                    )
        began = time.monotonic()
        assert not heard(connection).startswith(b"HTTP/1.1 2")
        assert time.monotonic() - began < QUICK_S


def test_one_who_does_not_take_the_answer_is_cut_off(impatient: Impatient, token: str) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(impatient.address)
        lines = (b"GET /static/figures.lib.js HTTP/1.1", b"Host: h", b"Authorization: Bearer %b")
        connection.sendall(b"\r\n".join(lines) % token.encode() + b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", connection.recv(1000))[1])  # type: ignore[index]
        time.sleep(1.0)
        taken = 0
        with suppress(ConnectionError):
            while block := connection.recv(1 << 16):
                taken += len(block)
        assert taken < length / 2


def test_one_who_waits_for_an_answer_is_not_cut_off(impatient: Impatient, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    wish = json.dumps({"worker": "w", "lease_s": 60, "wait_s": 1})
    with closing(http.client.HTTPConnection(*impatient.address, timeout=10)) as connection:
        for status in (200, 204):  # the second one waits for five times the service's patience
            connection.request("POST", "/api/v1/studies/1/claim", wish, headers)
            response = connection.getresponse()
            response.read()
            assert response.status == status

"""A claim that waits over HTTP ends at once when it is given up, whatever it waits for."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evolvent.errors import StoreError, StoreUnavailable, Unauthenticated
from evolvent.store.connect import open_store
from evolvent.store.http import transport
from evolvent.store.http.store import HttpStore
from evolvent.store.records import Lease, Wait
from evolvent.store.sql import retry
from tests.contract.crew import LONG
from tests.needs import needs
from tests.service.certificate import certificate
from tests.service.threaded import Service, service
from tests.settings import study_record
from tests.store.servers import Server

httpx = needs("httpx")

AT_ONCE_S = 5.0
"""Far less than any wait here, and than what a busy machine needs."""


class Claiming:
    """A claim of the only study, in a thread of its own."""

    def __init__(self, store: HttpStore) -> None:
        self.cancel = threading.Event()
        self._store = store
        self._thread = ThreadPoolExecutor(1)

    def begin(self) -> Future[Lease | None]:
        wait = Wait(60.0, self.cancel)
        return self._thread.submit(self._store.claim, 1, worker="w1", lease_s=LONG, wait=wait)

    def end(self) -> None:
        self.cancel.set()
        self._store.close()
        self._thread.shutdown()


@contextlib.contextmanager
def claiming(store: HttpStore) -> Iterator[Claiming]:
    it = Claiming(store)
    try:
        yield it
    finally:
        it.end()


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service with TLS that this process trusts; its study has one member."""
    cert, key = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    store = open_store("memory://")
    store.create_study(study_record(population=1))
    with contextlib.closing(store), service(store, certfile=cert, keyfile=key) as made:
        made.url = f"https://localhost:{made.url.rpartition(':')[2]}"
        yield made


def is_waiting(future: Future[Lease | None]) -> bool:
    """Whether it still waits after a while in which nothing happened."""
    time.sleep(0.2)
    return not future.done()


def use(store: HttpStore) -> None:
    """Leave an open connection behind."""
    store.studies()


def leave(store: HttpStore) -> None:
    """Have no connection yet."""


@pytest.mark.parametrize("before", [use, leave], ids=["used connection", "fresh connection"])
def test_wait_under_tls_is_given_up_at_once(
    before: Callable[[HttpStore], None], running: Service
) -> None:
    running.store.claim(1, worker="other", lease_s=LONG)
    store = HttpStore(running.url, running.token())
    before(store)
    with claiming(store) as claim:
        waiting = claim.begin()
        assert is_waiting(waiting)
        claim.cancel.set()
        assert waiting.result(AT_ONCE_S) is None


def test_wait_under_tls_ends_with_the_job_that_comes(running: Service) -> None:
    running.store.claim(1, worker="other", lease_s=LONG)
    with claiming(HttpStore(running.url, running.token())) as claim:
        waiting = claim.begin()
        assert is_waiting(waiting)
        running.store.push(1, {})
        lease = waiting.result(AT_ONCE_S)
        assert lease is not None
        assert lease.job.id == "m1r0"


def test_service_that_breaks_off_under_tls_is_tried_again(running: Service) -> None:
    store = HttpStore(running.url, running.token())
    use(store)
    (idle,) = store._transport._connections._idle
    idle.sock.shutdown(2)  # as a proxy does between two requests
    with claiming(store) as claim:
        lease = claim.begin().result(AT_ONCE_S)
        assert lease is not None


@pytest.mark.parametrize("early", [True, False], ids=["before it asks", "while it tries again"])
def test_service_that_is_away_holds_nobody_who_gives_up(early: bool) -> None:
    behind = open_store("memory://")
    with contextlib.closing(behind), service(behind) as running:
        store = HttpStore(running.url, running.token())
        use(store)
    with claiming(store) as claim:
        if early:
            claim.cancel.set()
            waiting = claim.begin()
        else:
            waiting = claim.begin()
            assert is_waiting(waiting)
            claim.cancel.set()
        assert waiting.result(AT_ONCE_S) is None


def test_wrong_token_is_told_at_once_after_many_and_a_good_one_passes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "evolvent")
    behind = open_store("memory://")
    with contextlib.closing(behind), service(behind) as running:
        wrong = {"Authorization": "Bearer evt_x"}
        while httpx.get(f"{running.url}/api/v1/studies", headers=wrong).status_code != 429:
            pass
        store = HttpStore(running.url, running.token("worker"))
        assert store.studies() == []
        store.close()
        store = HttpStore(running.url, "evt_x")
        with pytest.raises(Unauthenticated, match="too many such tokens have come"):
            store.studies()
        store.close()
    assert "is busy" not in caplog.text


def test_client_is_told_that_the_database_behind_the_service_is_away(
    own_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = needs("evolvent.store.postgres.pool")
    assert retry.RETRY_FOR_S < transport.ANSWER_S  # or the client gives up first
    monkeypatch.setattr(retry, "RETRY_FOR_S", 0.3)
    monkeypatch.setattr(transport, "RETRY_S", 0.5)
    monkeypatch.setattr(pool, "_WAIT_S", 0.2)
    behind = open_store(f"{own_server.url}&checkpoints={tmp_path}/checkpoints")
    with contextlib.closing(behind), service(behind) as running:
        store = HttpStore(running.url, running.token())
        use(store)
        own_server.stop("fast")
        away = r"postgresql://postgres@.*(refused|No such)"
        with pytest.raises(StoreUnavailable, match=away) as told:
            use(store)
        assert told.value.__cause__ is None
        own_server.start()
        use(store)  # as if nothing had been
        store.close()


@pytest.mark.parametrize(
    "call",
    [lambda s: s.claim(1, worker="w", lease_s=60.0), lambda s: s.stop(1, reason="enough")],
    ids=["claim", "stop"],
)
def test_an_empty_answer_is_no_answer_of_the_service(call: Callable[[HttpStore], object]) -> None:
    class Empty(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as proxy, ThreadPoolExecutor(1) as threads:
        threads.submit(proxy.serve_forever)
        store = HttpStore(f"http://127.0.0.1:{proxy.server_port}", "evt_of_another")
        try:
            with contextlib.closing(store), pytest.raises(StoreError, match="an empty answer"):
                call(store)
        finally:
            proxy.shutdown()

"""Connections to a service: kept for the next request, and closed when nobody has them any more."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator

import pytest

from evolvent.errors import StoreUnavailable
from evolvent.store.connect import open_store
from evolvent.store.http import transport as http_transport
from evolvent.store.http.store import HttpStore
from evolvent.store.http.transport import Transport
from tests.service.threaded import Service, service
from tests.settings import study_record

PATIENCE_S = 20.0
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it"
FORKED = """
import os, sys
from evolvent.store.connect import open_store
store = open_store(sys.argv[1])
assert store.studies() == []
child = os.fork()
assert store.studies() == []  # each on a connection of its own
if child == 0:
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert store.studies() == []
"""  # nobody closes anything


@pytest.fixture
def running() -> Iterator[Service]:
    with contextlib.closing(open_store("memory://")) as store, service(store) as made:
        yield made


def sockets() -> set[str]:
    """Return the sockets of this process."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{name}"))
    return {place for place in found if place.startswith("socket:")}


def ask(store: HttpStore, times: int = 1) -> None:
    for _ in range(times):
        assert store.studies() == []


def unclosed(running: Service) -> list[str]:
    """Use a store from several threads, lose it, and return the warnings that it leaves."""
    token = running.token()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = HttpStore(running.url, token)
        threads = [threading.Thread(target=ask, args=(store, 5)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(sockets()) > 1
        del store, threads, thread
        gc.collect()
    return [str(warning.message) for warning in caught]


def test_a_store_that_nobody_closed_leaves_no_socket_behind(running: Service) -> None:
    before = sockets()
    assert unclosed(running) == []
    give_up = time.monotonic() + PATIENCE_S
    while sockets() > before:  # the service closes its ends when it notices
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_an_answer_that_nobody_read_to_its_end_leaves_no_socket_behind(running: Service) -> None:
    running.store.create_study(study_record(population=500))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = HttpStore(running.url, running.token())
        lines = store._transport.lines("/studies/1/jobs")
        assert next(lines)
        del lines, store
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


@contextlib.contextmanager
def half_answered() -> Iterator[tuple[Transport, threading.Event]]:
    """Give a client whose request gets half an answer, and what tells that the client has left."""
    left = threading.Event()

    def answer() -> None:
        end, _ = listener.accept()
        with end:
            end.settimeout(PATIENCE_S)
            end.recv(1 << 16)
            end.sendall(HALF)
            with contextlib.suppress(ConnectionResetError):
                end.recv(1)
            left.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with contextlib.closing(Transport(url, None)) as transport:
            yield transport, left
        thread.join(PATIENCE_S)


def test_who_reads_half_of_an_answer_leaves_at_once() -> None:
    with half_answered() as (transport, left):
        with transport.stream("/studies") as response:
            assert response.read(4) == b"half"
        assert left.wait(PATIENCE_S)  # though we have not let go of the response


def test_an_answer_that_stalls_leaves_no_connection_to_its_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_transport, "FIRST_RETRY_S", 0.0)
    with half_answered() as (transport, left):
        with pytest.raises(StoreUnavailable) as kept:
            transport.request("GET", "/studies", timeout_s=0.2)
        assert left.wait(PATIENCE_S)
    assert kept.value.__cause__ is not None  # its frames know the answer


def test_a_process_that_forks_and_closes_nothing_ends_in_silence(running: Service) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", FORKED, running.url],
        env={**os.environ, "EVOLVENT_TOKEN": running.token()},
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")

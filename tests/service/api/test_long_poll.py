"""Claims that wait: woken by what happens, sent home when nothing will, and never for nobody."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from evolvent.core.records import JobState
from evolvent.errors import Unauthenticated
from evolvent.store.codec.messages import ClaimBody
from evolvent.store.connect import open_store
from evolvent.store.http.store import HttpStore
from evolvent.store.protocol import Store
from evolvent.store.records import Lease, Wait
from evolvent.store.tokens import id_of, tokens_of
from tests.cli.commands import fine
from tests.contract.crew import LONG, LOST, Crew
from tests.needs import needs
from tests.service.threaded import Service, service

# isort: split
from evolvent.service.api.work import ClaimQueue
from evolvent.service.auth.csrf import csrf_for
from evolvent.service.web.threads import StoreThreads

httpx = needs("httpx")

PATIENCE_S = 20.0
AT_ONCE_S = 5.0
"""Far less than any wait here, and than what a busy machine needs."""


class Waiters:
    """Workers that wait for a job, each in a thread."""

    def __init__(self, running: Service, token: str | None = None) -> None:
        self.store = HttpStore(running.url, running.token() if token is None else token)
        self.cancel = threading.Event()
        self._threads = ThreadPoolExecutor(20)

    def wait(self, study: int, worker: str = "w1", **how: Any) -> Future[Lease | None]:
        """Let one wait; return what it will get."""
        wait = Wait(60.0, self.cancel)
        return self._threads.submit(
            self.store.claim, study, worker=worker, lease_s=LONG, wait=wait, **how
        )

    def close(self) -> None:
        self.cancel.set()
        self._threads.shutdown()
        self.store.close()


class Held:
    """A method of a store that takes until it is let go."""

    def __init__(self, store: Store, name: str) -> None:
        self._call = getattr(store, name)
        self.begun, self.go = threading.Event(), threading.Event()
        setattr(store, name, self)

    def __call__(self, *args: Any, **how: Any) -> Any:
        self.begun.set()
        assert self.go.wait(PATIENCE_S)
        return self._call(*args, **how)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Service]:
    store = open_store(f"sqlite:///{tmp_path / 'log.db'}")
    with service(store) as made:
        yield made
    store.close()


@pytest.fixture
def waiters(running: Service) -> Iterator[Waiters]:
    made = Waiters(running)
    yield made
    made.close()


@pytest.fixture
def crew(running: Service, waiters: Waiters) -> Crew:
    """A study of two members at work, seen through the service."""
    return Crew(waiters.store, population=2, rounds=9)


def got(future: Future[Lease | None]) -> str | None:
    lease = future.result(PATIENCE_S)
    return None if lease is None else lease.job.id


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_waiting(future: Future[Any]) -> bool:
    """Whether it still waits after a while in which nothing happened."""
    time.sleep(0.2)
    return not future.done()


def test_claim_waits_for_a_report(crew: Crew, waiters: Waiters) -> None:
    leases = [crew.claim(), crew.claim()]
    waiting = waiters.wait(crew.id)
    assert is_waiting(waiting)
    crew.report(leases[1], 0.5)
    assert got(waiting) == "m1r1"


@pytest.mark.parametrize("what", ["push", "release"])
def test_claim_waits_for_whatever_opens_a_job(what: str, crew: Crew, waiters: Waiters) -> None:
    crew.claim("a"), crew.claim("a")
    waiting = waiters.wait(crew.id)
    assert is_waiting(waiting)
    if what == "push":
        waiters.store.push(crew.id, {})
        assert got(waiting) == "m2r0"
    else:
        waiters.store.release(crew.id, worker="a", failure=LOST)
        assert got(waiting) == "m0r0"


def test_every_one_who_waits_gets_a_job_of_its_own(crew: Crew, waiters: Waiters) -> None:
    leases = [crew.claim(), crew.claim()]
    waiting = [waiters.wait(crew.id, f"x{i}") for i in range(6)]
    assert is_waiting(waiting[0])
    for _ in range(4):
        waiters.store.push(crew.id, {})
    for lease in leases:
        crew.report(lease, 0.5)
    jobs = [got(future) for future in waiting]
    assert len(set(jobs)) == 6
    assert crew.status().counts.get(JobState.RUNNING) == 6


def test_what_others_do_to_the_store_is_noticed(
    running: Service, crew: Crew, waiters: Waiters
) -> None:
    crew.claim(), crew.claim()
    waiting = waiters.wait(crew.id)
    assert is_waiting(waiting)
    behind = open_store(running.store.url)
    behind.push(crew.id, {})
    assert got(waiting) == "m2r0"
    behind.close()


def test_lease_that_runs_out_is_noticed(crew: Crew, waiters: Waiters) -> None:
    crew.claim(), crew.claim(lease_s=0.5)
    lease = waiters.wait(crew.id).result(PATIENCE_S)
    assert lease is not None
    assert (lease.job.id, lease.attempt) == ("m1r0", 2)


def test_study_that_is_stopped_sends_all_home(crew: Crew, waiters: Waiters) -> None:
    crew.claim(), crew.claim()
    waiting = [waiters.wait(crew.id, f"x{i}") for i in range(3)]
    assert is_waiting(waiting[0])
    waiters.store.stop(crew.id, reason="lunch")
    assert [got(future) for future in waiting] == [None, None, None]


def test_study_that_is_over_holds_nobody(crew: Crew, waiters: Waiters) -> None:
    waiters.store.stop(crew.id, reason="lunch")
    began = time.monotonic()
    assert got(waiters.wait(crew.id)) is None
    assert time.monotonic() - began < AT_ONCE_S


def test_study_that_is_removed_sends_all_home(crew: Crew, waiters: Waiters) -> None:
    crew.claim(), crew.claim()
    waiting = waiters.wait(crew.id)
    assert is_waiting(waiting)
    waiters.store.delete_study(crew.id)
    with pytest.raises(Exception, match="number"):
        waiting.result(PATIENCE_S)


def revoke(running: Service, token: str, how: str) -> None:
    if how == "by the command":
        fine("token", "revoke", id_of(token), "--store", running.store.url)
        return
    with contextlib.closing(open_store(running.store.url)) as behind:
        tokens = tokens_of(running.store if how == "by the service" else behind)
        tokens.revoke(token)


@pytest.mark.parametrize("how", ["by the service", "in the store", "by the command"])
@pytest.mark.parametrize("bound", [False, True], ids=["all studies", "one study"])
def test_token_that_is_revoked_while_its_claim_waits_gets_no_job(
    how: str, bound: bool, running: Service, crew: Crew, waiters: Waiters
) -> None:
    crew.claim(), crew.claim()
    token = running.token("worker", study=crew.record.name if bound else None)
    with contextlib.closing(Waiters(running, token)) as losing:
        loser = losing.wait(crew.id, "loser")
        assert is_waiting(loser)
        winner = waiters.wait(crew.id, "winner")
        assert is_waiting(winner)
        revoke(running, token, how)
        assert not loser.done()  # it costs nothing until there is a job
        waiters.store.push(crew.id, {})
        with pytest.raises(Unauthenticated, match="is revoked"):
            loser.result(PATIENCE_S)
    assert got(winner) == "m2r0"
    assert crew.open(2).worker == "winner"
    assert crew.open(2).attempt == 1


def test_browser_that_signs_out_while_its_claim_waits_gets_no_job(
    running: Service, crew: Crew, waiters: Waiters
) -> None:
    crew.claim(), crew.claim()
    with httpx.Client(base_url=running.url, timeout=PATIENCE_S) as browser:
        browser.post("/sign-in", data={"token": running.token()})
        (secret,) = browser.cookies.values()
        browser.headers["X-CSRF-Token"] = csrf_for(secret)
        with ThreadPoolExecutor(1) as thread:
            path = f"/api/v1/studies/{crew.id}/claim"
            waiting = thread.submit(browser.post, path, json={"worker": "page", "wait_s": 60})
            assert is_waiting(waiting)
            assert browser.post("/sign-out").status_code == 303
            waiters.store.push(crew.id, {})
            answer = waiting.result(PATIENCE_S)
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "Unauthenticated")
    assert crew.open(2).worker is None


def test_wait_ends_when_it_is_given_up(crew: Crew, waiters: Waiters) -> None:
    crew.claim(), crew.claim()
    waiting = waiters.wait(crew.id)
    assert is_waiting(waiting)
    waiters.cancel.set()
    assert got(waiting) is None


def test_nobody_gets_a_job_after_going_away(running: Service, crew: Crew, waiters: Waiters) -> None:
    leases = [crew.claim(), crew.claim()]
    parts = urlsplit(running.url)
    gone = http.client.HTTPConnection(parts.hostname or "", parts.port)
    body = json.dumps({"worker": "gone", "wait_s": 60})
    headers = {"Authorization": f"Bearer {running.token()}", "Content-Type": "application/json"}
    gone.request("POST", f"/api/v1/studies/{crew.id}/claim", body, headers)
    time.sleep(0.2)
    gone.close()
    waiting = waiters.wait(crew.id)
    assert is_waiting(waiting)
    crew.report(leases[0], 0.5)
    assert got(waiting) == "m0r1"
    assert crew.open(0).worker == "w1"


def leave(waiters: Waiters, waiting: Future[Lease | None]) -> None:
    """Give up a claim, and let the service notice."""
    waiters.cancel.set()
    assert got(waiting) is None
    waiters.cancel.clear()
    time.sleep(0.2)


def test_job_given_at_once_to_somebody_who_left_is_handed_back(
    running: Service, crew: Crew, waiters: Waiters
) -> None:
    claim = Held(running.store, "claim")
    waiting = waiters.wait(crew.id, "gone")
    assert claim.begun.wait(PATIENCE_S)
    leave(waiters, waiting)
    claim.go.set()
    until(lambda: crew.open(0).attempt == 1 and crew.open(0).state is JobState.QUEUED)
    assert got(waiters.wait(crew.id, "next")) == "m0r0"


def test_claim_that_is_repeated_gets_no_lease_that_is_being_handed_back(
    running: Service, crew: Crew, waiters: Waiters
) -> None:
    claim, fail = Held(running.store, "claim"), Held(running.store, "fail")
    waiting = waiters.wait(crew.id, key="k")
    assert claim.begun.wait(PATIENCE_S)
    leave(waiters, waiting)
    claim.go.set()
    assert fail.begun.wait(PATIENCE_S)
    again = waiters.wait(crew.id, key="k")
    assert is_waiting(again)
    fail.go.set()
    lease = again.result(PATIENCE_S)
    assert lease is not None
    assert (lease.job.id, lease.attempt) == ("m0r0", 2)
    assert (crew.open(0).state, crew.open(0).attempt) == (JobState.RUNNING, 2)


def test_hundreds_can_wait_and_all_are_served(crew: Crew, running: Service) -> None:
    crew.claim(), crew.claim()
    parts = urlsplit(running.url)
    headers = {"Authorization": f"Bearer {running.token()}", "Content-Type": "application/json"}
    connections = []
    for number in range(300):
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        body = json.dumps({"worker": f"x{number}", "wait_s": 60})
        connection.request("POST", f"/api/v1/studies/{crew.id}/claim", body, headers)
        connections.append(connection)
    time.sleep(0.2)
    for _ in range(300):
        running.store.push(crew.id, {})
    answers = [connection.getresponse() for connection in connections]
    jobs = [json.loads(answer.read())["job"]["job"] for answer in answers]
    assert len(set(jobs)) == 300
    for connection in connections:
        connection.close()


@pytest.mark.parametrize(("asks", "times"), [("claim", 1), ("status", 1), ("claim", 2)])
def test_a_claim_that_looks_while_the_service_stops_waits_no_longer(asks: str, times: int) -> None:
    """Stopped within the first look, the question whether all is over, and a later look."""

    async def claimed(store: Store, study: int) -> Lease | None:
        threads = StoreThreads()
        queue, loop, left = ClaimQueue(store, threads), asyncio.get_running_loop(), times
        ask = getattr(store, asks)

        def stop() -> None:
            queue.close()
            stopped.set()

        def stopping(*args: Any, **how: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                loop.call_soon_threadsafe(stop)
                stopped.wait()
            return ask(*args, **how)

        stopped = threading.Event()
        setattr(store, asks, stopping)
        body = ClaimBody("w", LONG, None, 60.0, None)
        checks: dict[str, Any] = {"check": lambda: None, "check_later": lambda: None}
        try:
            return await queue.claim(study, body, asyncio.Event().wait, **checks)  # type: ignore[arg-type]  # nothing ever comes
        finally:
            threads.close()

    store = open_store("memory://")
    crew = Crew(store, population=1, rounds=1)
    crew.claim("other")
    began = time.monotonic()
    assert asyncio.run(claimed(store, crew.id)) is None
    assert time.monotonic() - began < AT_ONCE_S
    store.close()

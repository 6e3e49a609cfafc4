"""Wrong tokens from an address, and what becomes of the right ones there: with real services."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolvent.store.connect import open_store
from evolvent.store.tokens import hash_of, tokens_of
from tests.needs import needs
from tests.service.served import ROOT, Served, served
from tests.store import servers

httpx = needs("httpx")
needs("uvicorn")

# isort: split
from evolvent.service.auth.throttle import ActiveHashes  # noqa: E402 - after what skips


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with servers.at_hand() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'log.db'}"
        return
    monkeypatch.setenv("EVOLVENT_CHECKPOINTS", str(tmp_path))
    with servers.schema(request.getfixturevalue("server")) as url:
        yield url


def new_token(store: str) -> str:
    """Make a token as people do, in a process of its own."""
    command = [sys.executable, "-m", "evolvent", "token", "create", "--role", "admin"]
    made = subprocess.run(
        [*command, "--store", store], cwd=ROOT, env=os.environ, capture_output=True, check=True
    )
    return made.stdout.decode().split()[0]


def studies(running: Served, token: str) -> int:
    return running.ask("GET", "/api/v1/studies", token=token)[0]


def throttle(running: Served) -> None:
    while studies(running, "evt_" + "A" * 43) != 429:
        pass


@pytest.mark.slow
def test_right_tokens_and_browsers_get_in_while_their_address_is_held_back(
    store: str, tmp_path: Path
) -> None:
    old = new_token(store)
    right = {"data": {"token": old}}
    with served(store, tmp_path) as running:
        port = str(running.port)
        cookies = httpx.post(f"{running.url}/sign-in", **right).cookies
        throttle(running)
        assert studies(running, new_token(store)) == 200
        running.kill()
    # To one that has just started, all tokens are new.
    with (
        served(store, tmp_path, "--port", port) as running,
        httpx.Client(base_url=running.url, cookies=cookies) as browser,
    ):
        throttle(running)
        assert studies(running, old) == 200
        assert browser.get("/api/v1/studies").status_code == 200
        assert httpx.post(f"{running.url}/sign-in", **right).status_code == 303
        opened = open_store(store)
        tokens_of(opened).revoke(old)
        opened.close()
        assert [studies(running, old) for _ in range(2)] == [401, 429]
        assert browser.get("/api/v1/studies").status_code == 401


def test_all_who_wait_for_a_new_token_to_be_found_wait_for_one_reading() -> None:
    started, go = asyncio.Event(), asyncio.Event()
    readings = 0

    async def read() -> frozenset[str]:
        nonlocal readings
        readings += 1
        started.set()
        await go.wait()
        return frozenset({hash_of("early")} if readings == 1 else {hash_of("late")})

    async def ask() -> list[bool]:
        active = ActiveHashes(read, time.monotonic)
        early = [asyncio.create_task(active.includes(s)) for s in ("early", "other", "early")]
        await started.wait()
        late = [asyncio.create_task(active.includes("late")) for _ in range(3)]
        early[1].cancel()  # its client left: nobody else notices
        go.set()
        return [await task for task in (early[0], early[2], *late)]

    assert asyncio.run(ask()) == [True] * 5
    assert readings == 2

"""Uploads that take long to seal, and are asked for again meanwhile."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from evolvent.store.checkpoints import files as tree
from evolvent.store.checkpoints import manifest
from evolvent.store.checkpoints.cache import CheckpointCache
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.http import transfer
from evolvent.store.http.checkpoints import HttpCheckpoints
from evolvent.store.http.transport import ANSWER_S, Transport
from tests.service.api.test_checkpoints import FILES, MB, Client, entries, home_of, serving
from tests.service.threaded import Service

ADDRESS = manifest.address_of(entries(FILES))
LONG_S = 30.0
OVERTAKEN_S = 0.3


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path) as running:
        yield running


@pytest.fixture
def client(served: Service) -> Client:
    return Client(served.url, served.token("worker"))


@pytest.fixture
def home(served: Service) -> LocalCheckpoints:
    return home_of(served)


class SlowDisk:
    """Hashes nothing of an upload before it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._freeze = tree.freeze
        self._go = threading.Event()
        self._begun = [threading.Event() for _ in range(2)]
        self.n_begun = 0
        monkeypatch.setattr(tree, "freeze", self.freeze)

    def freeze(self, staged: Path, **options: Any) -> Any:
        if "upload-" not in str(staged):
            return self._freeze(staged, **options)
        nth, self.n_begun = self.n_begun, self.n_begun + 1
        self._begun[min(nth, 1)].set()
        assert self._go.wait(LONG_S)
        if nth > 0:
            raise FileNotFoundError(2, "No such file or directory", str(staged))
        return self._freeze(staged, **options)

    def wait(self) -> None:
        assert self._begun[0].wait(LONG_S)

    def overtaken(self) -> bool:
        """Whether a second one begins while the first is at work."""
        return self._begun[1].wait(OVERTAKEN_S)

    def go(self) -> None:
        self._go.set()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    return SlowDisk(monkeypatch)


def sent(client: Client) -> str:
    """Send all files; return the path of the upload."""
    upload = client.begin()
    for index, content in enumerate(FILES.values()):
        assert client.told("PUT", f"{upload}/files/{index}", content)[0] == 200
    return upload


def test_whoever_asks_meanwhile_gets_the_same_answer(client: Client, disk: SlowDisk) -> None:
    upload = sent(client)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(client.told, "POST", f"{upload}/seal")
        disk.wait()
        second = threads.submit(client.told, "POST", f"{upload}/seal")
        overtaken = disk.overtaken()
        disk.go()
        assert first.result() == second.result() == (200, {"address": ADDRESS})
    assert not overtaken


def test_whoever_asks_meanwhile_gets_the_same_refusal(client: Client, disk: SlowDisk) -> None:
    disk.n_begun = 1  # the disk fails
    upload = sent(client)
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(client.told, "POST", f"{upload}/seal") for _ in range(2)]
        disk.go()
        assert [answer.result()[0] for answer in asked] == [507, 507]


def test_whoever_asks_afterwards_gets_the_same_answer(client: Client) -> None:
    upload = sent(client)
    answers = [client.told("POST", f"{upload}/seal") for _ in range(3)]
    assert answers == [(200, {"address": ADDRESS})] * 3


def test_upload_whose_checkpoint_was_collected_since_is_gone(
    client: Client, home: LocalCheckpoints
) -> None:
    upload = sent(client)
    client.told("POST", f"{upload}/seal")
    home.discard([ADDRESS])
    status, told = client.told("POST", f"{upload}/seal")
    assert (status, told["error"]["type"]) == (409, "UploadConflict")


def test_upload_that_was_sealed_by_a_service_since_killed_gives_its_address(
    client: Client, home: LocalCheckpoints
) -> None:
    upload = sent(client)
    place = home.root / "staging" / upload.replace("/uploads/", "upload-")
    home.seal(place / "tree")  # and no more
    assert client.told("POST", f"{upload}/seal") == (200, {"address": ADDRESS})
    assert not place.exists()


def test_job_outlives_a_seal_that_takes_longer_than_a_client_waits(
    served: Service,
    home: LocalCheckpoints,
    disk: SlowDisk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transfer, "ANSWER_S", 0.3)
    transport = Transport(served.url, served.token("worker"))
    here = HttpCheckpoints(transport, 1, cache=CheckpointCache(tmp_path / "here", limit=1e9))
    with contextlib.closing(transport), ThreadPoolExecutor(1) as threads:
        staged = here.stage("job")
        (staged / "weights").write_bytes(b"w" * 1000)
        sealed = threads.submit(here.seal, staged)
        disk.wait()
        for _ in range(3):  # it has given up and asked again
            disk.overtaken()
        disk.go()
        assert sealed.result() in home
    assert disk.n_begun == 1


class Noting(Transport):
    """Notes how long each request may take."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.patience: dict[str, float] = {}

    def request(self, method: str, path: str, *given: Any, **named: Any) -> bytes:
        self.patience[f"{method} {path.rpartition('/')[2]}"] = named.get("timeout_s", ANSWER_S)
        return super().request(method, path, *given, **named)


def test_the_larger_a_checkpoint_the_longer_its_client_waits(
    served: Service, tmp_path: Path
) -> None:
    transport = Noting(served.url, served.token("worker"))
    here = HttpCheckpoints(transport, 1, cache=CheckpointCache(tmp_path / "here", limit=1e9))
    staged = here.stage("job")
    (staged / "weights").write_bytes(bytes(20 * MB))
    with contextlib.closing(transport):
        here.seal(staged)
    waits = {name: int(transport.patience[name]) for name in ("POST uploads", "POST seal")}
    assert waits == dict.fromkeys(["POST uploads", "POST seal"], ANSWER_S + 1)

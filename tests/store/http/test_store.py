"""The store over HTTP keeps every promise."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolvent.store.connect import open_store
from evolvent.store.protocol import Store
from tests.contract import StoreContract
from tests.service.threaded import Service, service


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Service]:
    with (
        contextlib.closing(open_store(f"sqlite:///{tmp_path / 'log.db'}")) as behind,
        service(behind) as running,
    ):
        yield running


class TestHttpStore(StoreContract):
    @pytest.fixture
    def store(
        self, served: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Store]:
        monkeypatch.setenv("EVOLVENT_TOKEN", served.token())
        monkeypatch.setenv("EVOLVENT_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("EVOLVENT_CACHE_GB", "0")  # what is spoiled must be what is read
        store = open_store(served.url)
        yield store
        store.close()

    @pytest.fixture
    def home(self, served: Service, store: Store) -> Store:
        return served.store

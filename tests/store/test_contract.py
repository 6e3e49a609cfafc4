"""Every store keeps every promise, and all keep them in the same way."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolvent.store.connect import open_store
from evolvent.store.protocol import Store
from tests.contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        store = open_store(f"memory://{uuid.uuid4()}")
        yield store
        store.close()


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = open_store(f"sqlite:///{tmp_path / 'log.db'}")
        yield store
        store.close()

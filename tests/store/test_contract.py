"""Every store keeps every promise, and all keep them in the same way."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolvent.store.connect import open_store
from evolvent.store.protocol import Store
from tests.contract import StoreContract
from tests.contract.crew import Reopen
from tests.contract.reference.store import ReferenceStore


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        store = open_store(f"memory://{uuid.uuid4()}")
        yield store
        store.close()


class TestReference(StoreContract):
    """What all stores are compared with keeps every promise itself."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> ReferenceStore:
        return ReferenceStore(tmp_path)

    @pytest.fixture
    def reopen(self, store: ReferenceStore) -> Reopen:
        return store.another_handle


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = open_store(f"sqlite:///{tmp_path / 'log.db'}")
        yield store
        store.close()

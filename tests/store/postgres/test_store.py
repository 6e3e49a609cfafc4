"""A store on a real PostgreSQL server keeps every promise that the others keep."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from evolvent.store.connect import open_store
from evolvent.store.protocol import Store
from tests.contract import StoreContract


class TestPostgresStore(StoreContract):
    @pytest.fixture
    def store(self, postgres_url: str) -> Iterator[Store]:
        store = open_store(postgres_url)
        yield store
        store.close()

"""A PostgreSQL server for those who ask."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.servers import Server, at_hand, schema, server


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Give the URL of a database on a real server."""
    with at_hand() as url:
        yield url


@pytest.fixture
def postgres_url(postgres: str, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a store that is not there yet."""
    with schema(postgres) as url:
        yield f"{url}&checkpoints={tmp_path}/checkpoints"


@pytest.fixture
def own_server() -> Iterator[Server]:
    """Give a server that the test may crash; it survives power cuts."""
    with server(synced=True) as own:
        yield own

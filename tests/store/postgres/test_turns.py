"""Those who wait for their turn on PostgreSQL see what was done before, and get it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from evolvent.errors import StoreUnavailable
from evolvent.store.connect import open_store
from evolvent.store.protocol import Store
from tests.contract.crew import Crew
from tests.needs import needs
from tests.settings import study_record

psycopg = needs("psycopg")
setup = needs("evolvent.store.postgres.setup")


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    store = open_store(postgres_url)
    yield store
    store.close()


@pytest.mark.parametrize("made", [True, False])
def test_whoever_waits_for_the_first_to_make_the_directory_finds_it(
    store: Store, postgres_url: str, made: bool
) -> None:
    first = open_store(postgres_url)._session.database  # type: ignore[attr-defined]  # looks inside
    with ThreadPoolExecutor(1) as threads:
        with first.write(synced=True) as tx:
            tx.execute(setup._CLAIM_PLACE, {"here": "first"})
            second = threads.submit(store.create_study, study_record())
            _until_somebody_waits(tx)
            if made:
                first.checkpoints.mkdir(parents=True)
        if made:
            assert store.status(second.result(60)).members == 3
        else:
            with pytest.raises(StoreUnavailable, match="are in first, and there is no directory"):
                second.result(60)
    first.close()


def test_ctrl_c_while_a_change_is_undone_locks_nobody_out(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More often than there are connections."""
    crew = Crew(store)

    def change() -> None:
        for _ in range(20):
            with pytest.raises(KeyboardInterrupt):
                _undone(store, crew.id)

    broken = _interrupted(psycopg.Connection.execute)
    monkeypatch.setattr(psycopg.Connection, "execute", broken)
    changing = threading.Thread(target=change, daemon=True)
    changing.start()
    changing.join(20)
    assert not changing.is_alive()
    monkeypatch.undo()
    store.stop(crew.id, reason="by hand")
    assert crew.status().stopped == "by hand"


def _undone(store: Store, study: int) -> None:
    with store._session.work(study):  # type: ignore[attr-defined]  # looks inside
        raise ValueError("undo it")


def _interrupted(execute: Any) -> Any:
    def pressed(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        if query == "ROLLBACK":
            raise KeyboardInterrupt
        return execute(self, query, *args, **options)

    return pressed


def _until_somebody_waits(tx: Any) -> None:
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    for _ in range(10_000):
        tx.execute("SELECT pg_stat_clear_snapshot()")
        tx.execute("SELECT pg_sleep(0.005)")
        if tx.execute(waits).fetchone() != (0,):
            return
    pytest.fail("nobody waits")

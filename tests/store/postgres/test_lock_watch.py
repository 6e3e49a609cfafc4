"""Who waits for a lock that another session holds at the server is told for whose."""

from __future__ import annotations

import logging.handlers
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from evolvent.store import locks
from evolvent.store.connect import open_store
from tests.contract.crew import Crew
from tests.needs import needs

psycopg = needs("psycopg")
lock_watch = needs("evolvent.store.postgres.lock_watch")
url_of = needs("evolvent.store.postgres.url")


@pytest.mark.parametrize("use", ["status", "claim", "open"])
def test_a_table_that_another_session_has_locked_is_said_and_waited_for(
    use: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = logging.handlers.QueueHandler(queue.Queue())
    monkeypatch.setattr(lock_watch, "SAYS_AFTER_S", 0.05)
    monkeypatch.setattr(locks._logger, "handlers", [said])
    crew = Crew(open_store(postgres_url))
    address = url_of.parse(postgres_url)
    do: dict[str, Callable[[], object]] = {
        "status": crew.status,
        "claim": crew.claim,
        "open": lambda: open_store(postgres_url).close(),
    }
    foreign = psycopg.connect(address.conninfo, application_name="psql")
    for table in ("study", "member", "schema_version"):
        foreign.execute(f'LOCK TABLE "{address.schema}".{table}')
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(do[use])
        message = said.queue.get(timeout=60).getMessage()
        assert not waiting.done()
        foreign.rollback()
        waiting.result(timeout=60)
    assert message.startswith(
        f"waiting for {address.url}, which session {foreign.info.backend_pid}"
    )
    assert " (psql of " in message
    assert message.endswith("holds: until that lets go of it, or ends")
    assert said.queue.empty()
    foreign.close()
    crew.store.close()

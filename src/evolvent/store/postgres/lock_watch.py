"""Telling whose lock a PostgreSQL server makes us wait for: of itself it waits in silence."""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress

import psycopg
from psycopg import Connection

from evolvent.store.locks import SAYS_AFTER_S, say_waiting
from evolvent.store.postgres.url import PostgresUrl

_LOOKS_EVERY_S = 1.0
_HOLDERS = """
SELECT DISTINCT ON (waits.pid) waits.pid, holds.pid, holds.application_name, holds.usename
FROM pg_stat_activity waits
JOIN pg_stat_activity holds ON holds.pid = ANY (pg_blocking_pids(waits.pid))
WHERE waits.pid = ANY (%s) AND waits.wait_event_type = 'Lock'
"""


class LockWatch:
    """Looks after the connections that are in use: once 5 s are over, at what each waits for.

    A thread, for who waits can do nothing else; and it asks the server, which alone knows who has
    the lock. Behind a pooler, whose sessions have numbers of its own, it says nothing.
    """

    def __init__(self, address: PostgresUrl) -> None:
        self._address = address
        self._since: dict[Connection, float] = {}  # infinite once it has been told
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, connection: Connection) -> None:
        """Note that a connection is in use from now on."""
        self._since[connection] = time.monotonic()
        if self._thread is None:  # of two that two threads start at once, either says all there is
            self._thread = threading.Thread(target=self._run, name="evolvent locks", daemon=True)
            with suppress(RuntimeError):  # no thread can be started, as when Python ends
                self._thread.start()

    def end(self, connection: Connection) -> None:
        self._since.pop(connection, None)

    def close(self) -> None:
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.wait(min(_LOOKS_EVERY_S, SAYS_AFTER_S)):
            before = time.monotonic() - SAYS_AFTER_S
            long = {c: since for c, since in list(self._since.items()) if since <= before}
            if long:
                with suppress(psycopg.Error):  # who waits is told what is wrong with the server
                    self._say(long)
                self._closed.wait(SAYS_AFTER_S)  # it may read a long log: once in a while is enough

    def _say(self, long: dict[Connection, float]) -> None:
        sessions = {connection.pgconn.backend_pid: connection for connection in long}
        with psycopg.connect(self._address.conninfo, autocommit=True) as connection:
            found = connection.execute(_HOLDERS, [list(sessions)]).fetchall()
        for waits, holds, program, user in found:
            waiting = sessions[waits]
            if self._since.get(waiting) == long[waiting]:  # it still does
                self._since[waiting] = math.inf
                name = f"session {holds} ({program or 'another program'} of {user})"
                say_waiting(self._address.url, name)

"""Connections of one process to one PostgreSQL server; a forked child opens its own."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable

import psycopg
from psycopg import Connection
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from evolvent.errors import StoreBusy, StoreError, StoreUnavailable
from evolvent.store.postgres.errors import connection_lost, is_lost, translate_error
from evolvent.store.postgres.lock_watch import LockWatch
from evolvent.store.postgres.url import PostgresUrl

_MAX_CONNECTIONS = 16
_WAIT_S = 2.0
_TRIES = 10
_BACKEND = "SELECT pg_backend_pid()"

# It tells of every attempt to reach a server that is away; we tell whoever asks, once.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


class Pool:
    """As many connections as threads need at once, up to 16, made when first needed."""

    def __init__(self, address: PostgresUrl, *, on_fork: Callable[[], None]) -> None:
        """Make an empty pool.

        Args:
            address: of the server.
            on_fork: called in a forked child, to forget what its parent was in the middle of.
        """
        self._address = address
        self._on_fork = on_fork
        self._lock = threading.Lock()
        self._pool: ConnectionPool[Connection] | None = None
        self._closed = False
        self._watch = LockWatch(address)
        _ALIVE.add(self)

    def take(self) -> Connection:
        """Take a connection, on which nothing is under way.

        Raises:
            ConnectionLost: the server is away for the moment.
            StoreUnavailable: closed, or the server refuses: says why.
            StoreBusy: all connections stay in use.
        """
        pool = self._opened()
        for _ in range(_TRIES):
            try:
                connection = pool.getconn(timeout=_WAIT_S)
                self._watch.begin(connection)
                return connection
            except PoolTimeout:
                self._raise_cause()
            except PoolClosed:
                raise self._closed_error() from None
        raise StoreBusy(
            f"{self._address.url}: {_MAX_CONNECTIONS} threads of this process kept all its "
            "connections"
        )

    def give(self, connection: Connection) -> None:
        """Give a connection back, whatever is under way on it."""
        self._watch.end(connection)
        try:
            _roll_back(connection)
        finally:
            pool = self._pool
            if pool is None:
                connection.close()
            else:
                pool.putconn(connection)

    def check(self) -> None:
        """Replace the connections that a restart of the server has broken."""
        if self._pool is not None:
            self._pool.check()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        self._watch.close()
        if pool is not None:
            pool.close()

    def abandon(self) -> None:  # pragma: no cover - in a forked child, where nothing is counted
        """Leave the connections to the parent of this process, whose they are."""
        # Neither used nor closed: to close one would end the session of the parent.
        _INHERITED.append(self._pool)
        self._pool, self._lock = None, threading.Lock()
        self._watch = LockWatch(self._address)  # of the old one the thread is not here
        self._on_fork()

    def _opened(self) -> ConnectionPool[Connection]:
        with self._lock:
            if self._closed:
                raise self._closed_error()
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._address.conninfo,
                    kwargs={"autocommit": True},
                    min_size=0,
                    max_size=_MAX_CONNECTIONS,
                    open=True,
                    configure=_configure,
                    reconnect_timeout=1.0,  # `_raise_cause` then says why
                    num_workers=1,
                )
            return self._pool

    def _raise_cause(self) -> None:
        """Raise what keeps us from connecting, if anything does."""
        try:
            connect(self._address).close()
        except psycopg.Error as e:
            raise refused(e, self._address.url) from e

    def _closed_error(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self._address.url}: the store has been closed: open it again")


def connect(address: PostgresUrl) -> Connection:
    """Open a connection of one's own.

    Raises:
        psycopg.Error: see `refused`.
    """
    return psycopg.connect(address.conninfo, autocommit=True)


def refused(error: psycopg.Error, url: str) -> StoreError:
    """Return the error for a connection that could not be made."""
    translated = translate_error(error, url)
    away = is_lost(error) or (type(translated) is StoreUnavailable and error.sqlstate is None)
    return connection_lost(error, url, maybe_committed=False) if away else translated


def _roll_back(connection: Connection) -> None:
    if connection.closed or connection.info.transaction_status == TransactionStatus.IDLE:
        return
    try:
        connection.execute("ROLLBACK", prepare=False)
    except psycopg.Error:
        connection.close()
    except BaseException:  # Ctrl-C: nobody knows how far it got
        connection.close()
        raise


def _configure(connection: Connection) -> None:
    """Prepare no statements where a pooler would look for them on another connection."""
    with connection.execute(_BACKEND, prepare=False) as cursor:
        (backend,) = cursor.fetchone() or (None,)
    if backend != connection.info.backend_pid:
        connection.prepare_threshold = None


_ALIVE: weakref.WeakSet[Pool] = weakref.WeakSet()
_INHERITED: list[object] = []  # to drop them would close connections that are the parent's


def _abandon_all() -> None:  # pragma: no cover - as above
    for pool in list(_ALIVE):
        pool.abandon()


os.register_at_fork(after_in_child=_abandon_all)

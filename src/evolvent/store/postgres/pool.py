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
from evolvent.store.postgres.errors import interrupted, is_lost, translate_error
from evolvent.store.postgres.url import PostgresUrl

_MOST = 16
_WAITS_S = 2.0
_TRIES = 10
_BACKEND = "SELECT pg_backend_pid()"

# It tells of every attempt to reach a server that is away; we tell whoever asks, once.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


class Pool:
    """As many connections as threads need at once, up to 16, made when first needed."""

    def __init__(self, address: PostgresUrl, *, forget: Callable[[], None]) -> None:
        """Make an empty pool.

        Args:
            address: of the server.
            forget: called in a forked child, to forget what its parent was in the middle of.
        """
        self._address = address
        self._forget = forget
        self._lock = threading.Lock()
        self._pool: ConnectionPool[Connection] | None = None
        self._closed = False
        _ALIVE.add(self)

    def take(self) -> Connection:
        """Take a connection, on which nothing is under way.

        Raises:
            Interrupted: the server is away for the moment.
            StoreUnavailable: closed, or the server refuses: says why.
            StoreBusy: all connections stay in use.
        """
        pool = self._opened()
        for _ in range(_TRIES):
            try:
                return pool.getconn(timeout=_WAITS_S)
            except PoolTimeout:
                self._ask_why()
            except PoolClosed:
                raise self._notice_closed() from None
        raise StoreBusy(
            f"{self._address.url}: {_MOST} threads of this process kept all its connections"
        )

    def give(self, connection: Connection) -> None:
        """Give a connection back, whatever is under way on it."""
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
        if pool is not None:
            pool.close()

    def abandon(self) -> None:  # pragma: no cover - in a forked child, where nothing is counted
        """Leave the connections to the parent of this process, whose they are."""
        _INHERITED.append(self._pool)
        self._pool, self._lock = None, threading.Lock()
        self._forget()

    def _opened(self) -> ConnectionPool[Connection]:
        with self._lock:
            if self._closed:
                raise self._notice_closed()
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._address.conninfo,
                    kwargs={"autocommit": True},
                    min_size=0,
                    max_size=_MOST,
                    open=True,
                    configure=_configure,
                    reconnect_timeout=1.0,  # asked again, and again told why
                    num_workers=1,
                )
            return self._pool

    def _ask_why(self) -> None:
        """Raise what keeps us from connecting, if anything does."""
        try:
            connect(self._address).close()
        except psycopg.Error as e:
            raise refused(e, self._address.url) from e

    def _notice_closed(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self._address.url}: the store has been closed: open it again")


def connect(address: PostgresUrl) -> Connection:
    """Open a connection of one's own.

    Raises:
        psycopg.Error: see `refused`.
    """
    return psycopg.connect(address.conninfo, autocommit=True)


def refused(error: psycopg.Error, url: str) -> StoreError:
    """Return the error for a connection that could not be made."""
    told = translate_error(error, url)
    away = is_lost(error) or (type(told) is StoreUnavailable and error.sqlstate is None)
    return interrupted(error, url, unsure=False) if away else told


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

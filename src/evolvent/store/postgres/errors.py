"""What went wrong at a PostgreSQL server, in our words: which store, what, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import errors

from evolvent.errors import StorageFull, StoreBusy, StoreDamaged, StoreError, StoreUnavailable
from evolvent.store.sql.database import ConnectionLost

if TYPE_CHECKING:
    from psycopg import Connection

_GONE = "its tables are gone: the schema was removed while it was open"
_ADVICE: dict[type[psycopg.Error], str] = {
    errors.LockNotAvailable: "others kept the study locked for too long: look at what they do",
    errors.QueryCanceled: "the server took too long or was told to cancel",
    errors.DiskFull: "the disk is full: free some space on the server and go on; nothing is lost",
    errors.ReadOnlySqlTransaction: "it is read-only, such as a standby server: name the primary",
    errors.InsufficientPrivilege: "this user may not do that: grant it, or name a schema of "
    "your own by ?schema=name",
    errors.UndefinedTable: _GONE,
    errors.InvalidSchemaName: _GONE,
}
_KINDS: dict[type[psycopg.Error], type[StoreError]] = {
    errors.LockNotAvailable: StoreBusy,
    errors.QueryCanceled: StoreBusy,
    errors.DiskFull: StorageFull,
}
ROLLED_BACK = (errors.SerializationFailure, errors.DeadlockDetected)
_AWAY = (
    errors.CannotConnectNow,
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.IdleInTransactionSessionTimeout,
)


def translate_error(error: psycopg.Error, url: str) -> StoreError:
    """Return the error to raise for what the server or libpq said of the store at `url`."""
    message = _message(error)
    if isinstance(error, (errors.IoError, errors.DataCorrupted, errors.IndexCorrupted)):
        return StoreDamaged(f"{url}: the server cannot read its data ({message}): restore a backup")
    for kind, advice in _ADVICE.items():
        if isinstance(error, kind):
            return _KINDS.get(kind, StoreUnavailable)(f"{url}: {advice} ({message})")
    if isinstance(error, psycopg.OperationalError):
        return StoreUnavailable(f"{url}: {message}")
    return StoreError(f"{url}: {message}")


def connection_lost(error: psycopg.Error, url: str, *, maybe_committed: bool) -> ConnectionLost:
    """Return the error for a transaction that may work the next time."""
    return ConnectionLost(f"{url}: {_message(error)}", maybe_committed=maybe_committed)


def is_lost(error: psycopg.Error, connection: Connection | None = None) -> bool:
    """Whether the connection is gone, or none can be had for the moment."""
    gone = connection is not None and connection.closed
    return gone or isinstance(error, _AWAY)


def _message(error: psycopg.Error) -> str:
    """Return the server's words on one line; they never hold a password."""
    return " ".join(str(error).split()) or type(error).__name__

"""What the SQL store asks of a database; SQLite and PostgreSQL both offer it.

Statements are written once, with named parameters `:name`. Where the two databases differ, and how
each statement reads on PostgreSQL, is in `postgres.statements`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from evolvent.errors import StoreUnavailable

NO_LIMIT = 2**62
"""For `LIMIT`: more rows than there can be."""


class Cursor(Protocol):
    """The rows that a statement has found."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Transaction(Protocol):
    """What reads and writes offer alike: SQL and the clock."""

    @property
    def execute(self) -> Callable[..., Cursor]: ...

    def now(self) -> float:
        """Return the database's clock, as of when it began to write."""


class Reading(Transaction, Protocol):
    """One snapshot, whoever writes meanwhile."""

    def each(self, sql: str, values: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        """Run through rows of which there may be more than memory holds."""


class Writing(Transaction, Protocol):
    """A transaction that writes."""

    def sync_commit(self) -> None:
        """Let it be on disk before its context ends, whatever it was begun with."""

    def fill(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert rows of which there may be more than memory holds."""


class Database(Protocol):
    """A database that many processes and threads share."""

    @property
    def url(self) -> str:
        """Where it is, without a password: may be printed."""

    @property
    def secret_url(self) -> str:
        """Where it is, for another process to open it: may hold a password."""

    @property
    def checkpoints(self) -> Path:
        """The directory of all studies' checkpoints, whether it is there or not."""

    def clock(self) -> float:
        """Return the database's clock, not asking: a little behind.

        Never behind what `observe_server_time` was given.
        """

    def observe_server_time(self, at: float) -> None:
        """Note what the database's clock has shown since this process last asked it something."""

    @property
    def is_remote(self) -> bool:
        """Whether an answer may get lost on its way from there."""

    @property
    def read_only(self) -> bool:
        """Whether it can only be read here: `write`, `exclusive` and `autocommit` raise."""

    def frozen_at(self) -> float | None:
        """Return when it was last changed, where nobody can change it; None where somebody can."""

    @property
    def durable(self) -> bool:
        """Whether it outlives this process; else it is not worth syncing, nor are checkpoints."""

    def ensure_checkpoint_root(self) -> None:
        """Make sure that checkpoints written here will be where all other processes look.

        Raises:
            StoreUnavailable: they would not, or the place cannot be made; says where it is.
        """

    def write(
        self, *, synced: bool, study: int | None = None, committed: Callable[[], None] | None = None
    ) -> AbstractContextManager[Writing]:
        """Return a context: one transaction; commits at the end, rolls back on an exception.

        Args:
            synced: on disk before the context ends; else it survives the death of this process.
            study: what else changes this study, in any process, waits; heartbeats and claims of
                queued jobs do not on PostgreSQL.
            committed: called after the commit, before this process changes the study again.
        """

    def read(self) -> AbstractContextManager[Reading]: ...

    def exclusive(
        self, study: int | None = None, *, max_wait_s: float = 60.0
    ) -> AbstractContextManager[Transaction]:
        """Return a context: what one statement reads of the study still holds for the next.

        For looking at the log and changing files by it; not synced.

        Args:
            study: as in `write`.
            max_wait_s: for so long the others may have to wait between two statements.
        """

    def autocommit(self, sql: str, values: Mapping[str, Any]) -> list[Any]:
        """Run one statement as a transaction by itself, not synced; `:now` is the clock."""

    def close(self) -> None: ...


class ConnectionLost(StoreUnavailable):
    """The database went away, or undid a transaction; it may work the next time.

    Attributes:
        maybe_committed: whether the transaction may have been committed all the same.
    """

    def __init__(self, message: str, *, maybe_committed: bool) -> None:
        super().__init__(message)
        self.maybe_committed = maybe_committed

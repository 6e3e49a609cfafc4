"""Where the checkpoints of a PostgreSQL store are, and that all machines agree on it."""

from __future__ import annotations

import socket
from pathlib import Path

from evolvent.errors import StoreUnavailable
from evolvent.store.postgres_url import PLACE_VARIABLE, Address
from evolvent.store.sql_database import Database

_TAKE = "UPDATE place SET made_at = :here WHERE made_at IS NULL RETURNING made_at"
_MADE_AT = "SELECT made_at FROM place"


class Home:
    """What identifies a store on its server, and where its checkpoints are.

    They lie in a directory of the store's own below the one that the user names, so that stores
    which share that one keep apart. The store knows where it was first made: a worker that would
    look for checkpoints elsewhere is told so before it trains.

    Attributes:
        lock_class: first half of the keys of this store's advisory locks.
        checkpoints: where the checkpoints of all its studies are.
    """

    def __init__(self, address: Address, id: str, *, lock_class: int) -> None:
        self.lock_class = lock_class
        self.checkpoints: Path = address.checkpoints / id
        self._url = address.url
        self._found = False

    def found_checkpoints(self, database: Database) -> None:
        """Make sure that the directory is there; the first one to ask makes it.

        Raises:
            StoreUnavailable: it is not there, or cannot be made.
        """
        if self._found:
            return
        if not self.checkpoints.is_dir():
            self._make(database)
        self._found = True

    def _make(self, database: Database) -> None:
        here = f"{socket.gethostname()}:{self.checkpoints}"
        with database.write(synced=True) as tx:
            if tx.execute(_TAKE, {"here": here}).fetchone() is None:
                if self.checkpoints.is_dir():  # another has made it while we waited for our turn
                    return
                (made_at,) = tx.execute(_MADE_AT).fetchone()
                raise StoreUnavailable(
                    f"{self._url}: its checkpoints are in {made_at}, and there is no directory "
                    f"{self.checkpoints} here: name the one that all machines share by "
                    f"?checkpoints=DIRECTORY or {PLACE_VARIABLE}, or mount it"
                )
            try:
                self.checkpoints.mkdir(parents=True, exist_ok=True)
            except OSError as e:
                raise StoreUnavailable(
                    f"{self._url}: the directory of checkpoints {self.checkpoints} cannot be made "
                    f"({e.strerror}): name another by ?checkpoints=DIRECTORY or {PLACE_VARIABLE}"
                ) from e

"""Columns of a study's log, kept and read on as it grows: what the table sorts and searches by.

A page of the table in the order of the log is read from the store itself. Any other order needs
one column of all finished jobs, which are never changed: so each is read once, then only its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evolvent.analysis.columns import Column, JsonColumns, gc_paused
from evolvent.store.protocol import Store
from evolvent.store.records import JobColumn

_PAGE = 20_000
_SEARCHED: tuple[JobColumn, ...] = (
    "member", "round", "state", "parent_member", "parent_round", "hyperparameters", "metrics",
    "worker", "reason", "error",
)  # fmt: skip
_MOST_ERROR = 2000


@dataclass(eq=False)
class Columns:
    """The columns of one study that somebody has asked for."""

    store: Store
    study: int
    _lock: Lock = field(default_factory=Lock)
    _plain: dict[JobColumn, list[Any]] = field(default_factory=dict)
    _mapped: dict[JobColumn, tuple[JsonColumns, dict[str, Column]]] = field(default_factory=dict)
    _read: dict[JobColumn, int] = field(default_factory=dict)
    _texts: list[str] = field(default_factory=list)
    _sorting: dict[str, tuple[int, NDArray[Any]]] = field(default_factory=dict)

    def plain(self, name: JobColumn, n: int) -> Sequence[Any]:
        """Return a column of the first `n` finished jobs, or of fewer if there are not so many."""
        # Two pages that read on at once would each append the same rows.
        with self._lock:
            values = self._plain.setdefault(name, [])
            for rows in self._beyond((name,), len(values), n):
                values.extend(row[0] for row in rows)
            return values[:n]

    def mapped(self, name: JobColumn, key: str, n: int) -> NDArray[Any]:
        """Return one name of a column of mappings (hyperparameters, metrics), as an array."""
        with self._lock:
            texts, columns = self._mapped.get(name, (JsonColumns(), {}))
            known = self._read.get(name, 0)
            if known < n or not columns:
                for rows in self._beyond((name,), known, n):
                    texts.add([row[0] for row in rows])
                    known += len(rows)
                columns = texts.columns()
                self._mapped[name], self._read[name] = (texts, columns), known
            found = columns.get(key)
            return np.full(min(known, n), None, object) if found is None else found[:n]

    def sorting(self, key: str, n: int, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return what was made of a column of the first `n` jobs; again once there are more."""
        found = self._sorting.get(key)
        if found is None or found[0] != n:
            found = self._sorting[key] = (n, make())
        return found[1]

    def texts(self, n: int) -> Sequence[str]:
        """Return for each of the first `n` jobs what a search looks through, in lower case."""
        with self._lock:
            with gc_paused():  # nothing in there refers back
                for rows in self._beyond(_SEARCHED, len(self._texts), n):
                    self._texts.extend(map(search_text, rows))
            return self._texts[:n]

    def _beyond(self, names: Sequence[JobColumn], known: int, n: int) -> Any:
        while known < n:
            rows = self.store.scan(self.study, names, after=known, limit=min(_PAGE, n - known))
            if not rows:
                return
            yield rows
            known += len(rows)


def search_text(row: tuple[Any, ...]) -> str:
    """Return in lower case what a search looks through of a job with the columns `_SEARCHED`."""
    # As one f-string, because it is made for every job of a log.
    member, round_, state, parent_member, parent_round, given, got, worker, reason, error = row
    parent = "" if parent_member is None else f"from m{parent_member}r{parent_round}"
    error_end = (error or "")[-_MOST_ERROR:]
    return (
        f"m{member}r{round_}\n{state}\n{parent}\n{given or ''}\n{got or ''}\n{worker or ''}\n"
        f"{reason or ''}\n{error_end}"
    ).lower()

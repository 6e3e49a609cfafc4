"""Server time of pages of the jobs table, of a study with many jobs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

from evolvent.service.dashboard.column_cache import Columns
from evolvent.service.dashboard.query import Query
from evolvent.service.dashboard.table import Table
from evolvent.store.protocol import Store

PAGES: Mapping[str, Mapping[str, Any]] = {
    "newest": {},
    "in the middle": {"page": 1000},
    "sorted by score": {"sort": "score"},
    "sorted by the first hyperparameter": {"sort": "h.lr", "order": "ascending"},
    "failed only": {"state": "failed"},
    "searched": {"search": "m3r12"},
    "searched, sorted": {"search": "adam", "sort": "score"},
}
REPEATS = 5


def table_pages(store: Store, study: int) -> dict[str, tuple[float, float]]:
    """Return milliseconds by kind of page: the first time, and the median of later ones.

    The first time a page is sorted or searched by something, a column of the whole log is read.
    """
    kept = Columns(store, study)

    def page(wanted: Mapping[str, Any]) -> float:
        began = time.perf_counter()
        status = store.status(study)
        Table(store, status, kept).page(Query(**wanted))
        return 1e3 * (time.perf_counter() - began)

    found = {}
    for name, wanted in PAGES.items():
        first = page(wanted)
        found[name] = (first, statistics.median(page(wanted) for _ in range(REPEATS)))
    return found

"""What of the table of jobs is wanted, as the URL of the page says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from evolvent.core.records import JobState
from evolvent.service.api.operations import is_whole
from evolvent.store.records import LOST
from evolvent.validation import cut, invalid

Order: TypeAlias = Literal["ascending", "descending"]

MOST_TEXT = 200
_STATES = (*map(str, JobState), LOST)
_MOST_PAGE = 10**7

PLAIN: Mapping[str, str] = {
    "job": "job", "state": "state", "score": "score", "parent": "started from",
    "attempt": "attempt", "worker": "worker", "started": "started", "took": "took",
    "finished": "finished", "reason": "reason",
}  # fmt: skip
"""Columns that every study has, with their titles; those of hyperparameters are `h.<name>`, of
metrics `m.<name>`."""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column that can be shown.

    Attributes:
        key: as in the URL of the page.
        number: whether its cells are numbers.
    """

    key: str
    title: str
    number: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What of the table is wanted.

    Attributes:
        search: only jobs in which this text occurs, whatever the case.
        state: only jobs in this state; "lost" for running ones that have lost their worker.
        sort: key of a column; "" for the newest first.
        page: from 1.
        columns: keys; none for those that suit.
    """

    search: str = ""
    state: str = ""
    sort: str = ""
    order: Order = "descending"
    page: int = 1
    columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, query: QueryParams) -> Query:
        """Read the query of a page.

        Raises:
            ConfigError: names the parameter, what came and what was wanted.
        """
        state, page = query.get("state", ""), query.get("page") or "1"
        if state and state not in _STATES:
            raise invalid("state", f"got {cut(state)}, wanted one of {', '.join(_STATES)}")
        if not is_whole(page) or not 1 <= int(page) <= _MOST_PAGE:
            raise invalid("page", f"got {cut(page)}, wanted a whole number from 1")
        return cls(
            search=query.get("q", "").strip()[:MOST_TEXT],
            state=state,
            sort=query.get("sort", ""),
            order="ascending" if query.get("order") == "ascending" else "descending",
            page=int(page),
            columns=tuple(dict.fromkeys(query.getlist("columns"))),
        )

    def href(self, **changes: Any) -> str:
        """Return the query of a URL that wants the same with a few things changed."""
        values = {
            "q": self.search, "state": self.state, "sort": self.sort,
            "order": self.order if self.sort else "", "page": self.page,
            "columns": self.columns,
        } | changes  # fmt: skip
        if values["page"] == 1:
            del values["page"]
        return "?" + urlencode({k: v for k, v in values.items() if v}, doseq=True)

    def towards(self, key: str) -> str:
        """Return the query behind the title of a column: the other way round if it is chosen."""
        other = "ascending" if self.order == "descending" else "descending"
        return self.href(sort=key, order=other if key == self.sort else "descending", page=1)

    def aria_sort(self, key: str) -> str:
        return self.order if key == self.sort else "none"

"""One request as handlers see it: who asks, for which study, with what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams

from evolvent.core.records import JobState
from evolvent.service.api.path import PathValues, is_whole
from evolvent.service.auth.roles import Identity
from evolvent.service.settings import ServiceSettings
from evolvent.store.codec.fields import SMALL, Schema
from evolvent.store.protocol import Store
from evolvent.store.records import JOB_COLUMNS
from evolvent.validation import MOST, invalid

STATES: Schema = {
    "type": "string",
    "description": "States with commas between them; all when left out.",
    "examples": ["done,failed"],
}
AFTER: Schema = {**SMALL.schema, "description": "Leave out so many; `next` of the page before."}
LIMIT: Schema = {
    **SMALL.schema, "description": "At most so many; 100 unless told, 10,000 at most."
}  # fmt: skip
COLUMNS: Schema = {
    "type": "string",
    "description": f"Some of {', '.join(JOB_COLUMNS)}, with commas between them.",
    "examples": ["member,round,score"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """A request whose sender is known and may do such things.

    Attributes:
        base_url: where the client has reached us; empty for what writes.
        body: what the JSON object that came stands for, as the operation has it.
    """

    store: Store
    settings: ServiceSettings
    identity: Identity
    base_url: str
    path: PathValues
    query: QueryParams
    body: Any = None

    @property
    def study(self) -> int:
        """The number of the study in the path."""
        return self.path["study"]

    def count(self, name: str, default: int | None, *, most: int = MOST) -> int | None:
        """Return a whole number of the query.

        Raises:
            ConfigError: it is none, or above `most`.
        """
        value = self.query.get(name)
        if value is None:
            return default
        if not is_whole(value) or int(value) > most:
            raise invalid(name, f"got {value!r:.80}, wanted a whole number, 0 to {most}")
        return int(value)

    def states(self) -> list[JobState] | None:
        """Return the states that the query names; None for all.

        Raises:
            ConfigError: one of them is none.
        """
        values = self.query.getlist("state")
        if not values:
            return None
        try:
            return [JobState(word) for value in values for word in value.split(",") if word]
        except ValueError as e:
            wanted = ", ".join(state.value for state in JobState)
            raise invalid("state", f"got {values!r:.80}, wanted some of {wanted}") from e

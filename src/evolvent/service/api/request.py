"""One request as handlers see it: who asks, for which study, with what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.types import Receive

from evolvent.core.records import JobId, JobState
from evolvent.errors import ConfigError, UnknownJob, UnknownStudy
from evolvent.service.auth.roles import Identity, Role
from evolvent.service.settings import ServiceSettings
from evolvent.store.codec.fields import Malformed
from evolvent.store.codec.messages import MOST, job_name
from evolvent.store.protocol import Store

Method: TypeAlias = Literal["GET", "POST", "PUT", "DELETE"]
Schema: TypeAlias = Mapping[str, Any]

LINES = "application/x-ndjson"

_MOST_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that is made while it is sent: JSON lines, unless told otherwise.

    Attributes:
        held: whether it holds a snapshot of the store open until it ends.
    """

    blocks: Iterator[bytes]
    media_type: str = LINES
    holds_snapshot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """A request that has passed the gate.

    Attributes:
        base_url: where the client has reached us; empty for what writes.
        body: the JSON object that came; empty when none did.
        lines: whether the client takes JSON lines.
        upload: the file that holds the body, for operations that take any length.
    """

    store: Store
    settings: ServiceSettings
    identity: Identity
    base_url: str
    path: Mapping[str, str]
    query: QueryParams
    body: dict[str, Any] = field(default_factory=dict)
    lines: bool = False
    upload: Path | None = None

    @property
    def study(self) -> int:
        """The number of the study in the path.

        Raises:
            UnknownStudy: it is no number.
        """
        return study_number(self.path["study"])

    @property
    def job(self) -> JobId:
        """The job in the path.

        Raises:
            UnknownJob: it is none.
        """
        try:
            return job_name(self.path["job"])
        except Malformed as e:
            raise UnknownJob(str(e)) from e

    def count(self, name: str, default: int | None, *, most: int = MOST) -> int | None:
        """Return a whole number of the query.

        Raises:
            ConfigError: it is none, or above `most`.
        """
        value = self.query.get(name)
        if value is None:
            return default
        if not _is_whole(value) or int(value) > most:
            raise ConfigError(f"{name}: got {value!r:.80}, wanted a whole number, 0 to {most}")
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
            raise ConfigError(f"state: got {values!r:.80}, wanted some of {wanted}") from e


def study_number(text: str) -> int:
    """Return the number of a study as a path has it.

    Raises:
        UnknownStudy: it is none that a study could have.
    """
    if not _is_whole(text) or int(text) > MOST:
        raise UnknownStudy(f"no study of number {text!r:.80}: wanted the number of a study")
    return int(text)


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path: what it does, for whom, and what documents it.

    Attributes:
        path: below `/api/v1`.
        role: the least that will do.
        run: parses, calls one method of the store, and returns what is told: a JSON value, a
            `Stream`, or None for nothing.
        summary: one line.
        query: its parameters with their JSON schemas.
        needs: those of them that must be there.
        body: schema of the JSON object that it takes.
        reply: schema of the answer.
        lines: schema of each line, where the answer may also come as JSON lines.
        errors: which statuses of 4xx it may answer with, beside those of all.
        creates: whether success is 201.
        changes: whether it writes; then whoever waits for a job is told.
        decides: whether it may ask the algorithm of the study.
        waits: whether it is a claim, which may wait for a job.
        files: whether it works with the files of a checkpoint; then no store waits for it.
        slow: whether it may go through a whole study and its checkpoints; then nothing else waits.
        binary: whether the body (of `receives`) or the answer is bytes.
        receives: answers instead of `run`, reading the body itself.
        takes: media type of the body where it is no JSON, of any length.
        gives: media type of the answer where it is no JSON.
    """

    method: Method
    path: str
    role: Role
    run: Callable[[ApiRequest], Any]
    summary: str
    query: Mapping[str, Schema] = field(default_factory=dict)
    needs: Iterable[str] = ()
    body: Schema | None = None
    reply: Schema | None = None
    lines: Schema | None = None
    errors: Iterable[int] = ()
    creates: bool = False
    changes: bool = False
    decides: bool = False
    waits: bool = False
    files: bool = False
    slow: bool = False
    binary: bool = False
    receives: Callable[[ApiRequest, Headers, Receive], Awaitable[Response]] | None = None
    takes: str | None = None
    gives: str | None = None

"""The operations of the API: what each kind of them is, and the request that each of them gets.

An operation is one method of one path, described well enough to be run. `endpoint` runs them and
`openapi` documents them: both go through the kinds with `match`, and the type checker says where a
new kind is still missing.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, TypedDict, cast

from starlette.datastructures import QueryParams
from starlette.requests import Request

from evolvent.core.records import JobId
from evolvent.errors import UnknownJob, UnknownStudy
from evolvent.service.auth.roles import Identity, Role
from evolvent.service.settings import ServiceSettings
from evolvent.service.web.errors import HttpError
from evolvent.service.web.streaming import FileResponse
from evolvent.service.web.threads import StoreThreads, ThreadKind
from evolvent.store.codec import fields
from evolvent.store.codec.fields import Field, Malformed, Schema
from evolvent.store.codec.messages import ClaimBody
from evolvent.store.protocol import Store
from evolvent.store.records import Lease
from evolvent.validation import MOST, cut, invalid

Method: TypeAlias = Literal["GET", "POST", "PUT", "DELETE"]

LINES = "application/x-ndjson"
BYTES = "application/octet-stream"
_PARAMETER = re.compile(r"{(\w+)}")
_MOST_DIGITS = 12
_MOST_INDEX_DIGITS = 5


class PathValues(TypedDict, total=False):
    """What the path of a request says; which of these, its template says."""

    study: int
    member: int
    job: JobId
    index: int
    address: str
    upload: str
    name: str


class PathTemplate:
    """A path below the prefix of the API, such as `/studies/{study}/jobs/{job}`, compiled."""

    def __init__(self, text: str) -> None:
        self.parameters = tuple(_PARAMETER.findall(text))
        # Names of studies may have slashes in them.
        self.pattern = text.replace("{name}", "{name:path}")
        self._readers = [(name, PARAMETERS[name][0]) for name in self.parameters]

    def read(self, texts: Mapping[str, str]) -> PathValues:
        """Return what the texts of a path that fits mean.

        Raises:
            EvolventError: one of them means nothing; the first one does.
        """
        return cast(PathValues, {name: read(texts[name]) for name, read in self._readers})


def is_whole(text: str, *, most_digits: int = _MOST_DIGITS) -> bool:
    """Whether a text is a whole number in plain digits, and not too many of them."""
    return text.isascii() and text.isdecimal() and len(text) <= most_digits


def study_number(text: str) -> int:
    """Return the number of a study.

    Raises:
        UnknownStudy: it is none that a study could have.
    """
    if not is_whole(text) or int(text) > MOST:
        raise UnknownStudy(f"no study of number {cut(text)}: wanted the number of a study")
    return int(text)


def _member(text: str) -> int:
    if not is_whole(text, most_digits=len(str(MOST)) - 1):
        raise invalid("member", f"got {cut(text)}, wanted the number of a member")
    return int(text)


def _job(text: str) -> JobId:
    try:
        return fields.JOB_NAME.from_json(text, "job")
    except Malformed as e:
        raise UnknownJob(str(e)) from e


def _address(text: str) -> str:
    try:
        return fields.ADDRESS.from_json(text, "checkpoint")
    except Malformed as e:
        raise HttpError(404, str(e), field="address") from e


def _index(text: str) -> int:
    if not is_whole(text, most_digits=_MOST_INDEX_DIGITS):
        message = f"file: got {cut(text)}, wanted its number in the list"
        raise HttpError(404, message, field="file")
    return int(text)


PARAMETERS: Mapping[str, tuple[Callable[[str], Any], Schema]] = {
    "study": (study_number, fields.SMALL.schema),
    "member": (_member, fields.SMALL.schema),
    "job": (_job, fields.JOB_NAME.schema),
    "name": (str, {"type": "string", "minLength": 1, "maxLength": 100}),
    "address": (_address, fields.ADDRESS.schema),
    "index": (_index, fields.COUNT.schema),
    "upload": (str, fields.TEXT.schema),
}
"""All that paths of the API have in them: what makes a value of its text, or raises what the answer
then says; and its JSON schema."""


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

    def count(self, name: str, default: int = 0, *, most: int = MOST) -> int:
        """Return a whole number of the query.

        Raises:
            ConfigError: it is none, or above `most`.
        """
        value = self.query.get(name)
        if value is None:
            return default
        if not is_whole(value) or int(value) > most:
            raise invalid(name, f"got {cut(value)}, wanted a whole number, 0 to {most}")
        return int(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationBase:
    """What all kinds have: where an operation is, for whom, and what documents it.

    Attributes:
        path: below `/api/v1`.
        role: the least that will do.
        query: its parameters with their JSON schemas.
        needs: those of them that must be there.
        errors: which statuses of 4xx it may answer with, beside those of all;
            404 is one wherever the path names something.
    """

    method: Method
    path: str
    role: Role
    summary: str
    query: Mapping[str, Schema] = field(default_factory=dict)
    needs: Iterable[str] = ()
    errors: Iterable[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonCall(OperationBase):
    """Takes a JSON object, or nothing; calls the store in a thread; answers with JSON, or nothing.

    Attributes:
        run: calls one method of the store, and returns what it answers.
        body: the JSON object that it takes.
        reply: the answer; None when there is none.
        creates: whether success is 201.
        changes: whether it writes the log: then those who wait for a job are woken.
        decides: whether it may ask the algorithm of the study.
        threads: those that it runs in; None: those that read for GET, else those that write.
    """

    run: Callable[[ApiRequest], Any]
    body: Field[Any] | None = None
    reply: Field[Any] | None = None
    creates: bool = False
    changes: bool = False
    decides: bool = False
    threads: ThreadKind | None = None

    @property
    def runs_in(self) -> ThreadKind:
        """The threads that it runs in."""
        return self.threads or (ThreadKind.READ if self.method == "GET" else ThreadKind.WRITE)

    def call(self, request: ApiRequest, body: Mapping[str, Any]) -> Any:
        """Return what `run` does for a request with the JSON object that came.

        Raises:
            Malformed: names the field of it that is not as it should be.
        """
        if self.body is not None:
            request = replace(request, body=self.body.from_json(body, "body"))
        return self.run(request)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinesCall(OperationBase):
    """Answers with records, each a line of JSON, made while those before it are sent.

    Attributes:
        records: reads what was asked for.
        line: what each of them is.
        page: answers instead, with some of them in one object, whoever does not take JSON lines.
        reply: that object.
    """

    records: Callable[[ApiRequest], Iterable[Any]]
    line: Field[Any]
    page: Callable[[ApiRequest], Any] | None = None
    reply: Field[Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCall(OperationBase):
    """Answers block by block, each made while those before it are sent.

    A snapshot of the store is open until the blocks end.

    Attributes:
        blocks: reads what was asked for, and returns the blocks.
    """

    blocks: Callable[[ApiRequest], Generator[bytes, None, None]]
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadCall(OperationBase):
    """Answers with a file, or a range of it.

    Attributes:
        open: opens the file, so that it can be read to its end even if it is removed meanwhile.
    """

    open: Callable[[ApiRequest], FileResponse]


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadCall(OperationBase):
    """Takes bytes, of any length; answers with JSON.

    Attributes:
        receive: reads the body itself, once it is clear that the sender may send it.
            What takes long, it runs in the threads.
        creates: whether success is 201.
    """

    receive: Callable[[ApiRequest, Request, StoreThreads], Awaitable[Any]]
    reply: Field[Any]
    media_type: str = BYTES
    creates: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LongPoll(OperationBase):
    """A claim, which may wait for a job: 204 when none came in time."""

    body: Field[ClaimBody]
    reply: Field[Lease]


Operation: TypeAlias = JsonCall | LinesCall | StreamCall | DownloadCall | UploadCall | LongPoll

"""The kinds of operations: each is one method of one path, described well enough to be run.

`endpoint` runs them and `openapi` documents them: both go through the kinds with `match`, and the
type checker says where a new kind is still missing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from starlette.requests import Request

from evolvent.service.api.request import ApiRequest
from evolvent.service.auth.roles import Role
from evolvent.service.web.streaming import FileResponse
from evolvent.service.web.threads import StoreThreads, ThreadKind
from evolvent.store.codec.fields import Field, Schema
from evolvent.store.codec.messages import ClaimBody
from evolvent.store.records import Lease

Method: TypeAlias = Literal["GET", "POST", "PUT", "DELETE"]

LINES = "application/x-ndjson"
BYTES = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationBase:
    """What all kinds have: where an operation is, for whom, and what documents it.

    Attributes:
        path: below `/api/v1`.
        role: the least that will do.
        summary: one line.
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
        media_type: of the blocks.
    """

    blocks: Callable[[ApiRequest], Iterator[bytes]]
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
        media_type: of the body.
        reply: the answer.
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

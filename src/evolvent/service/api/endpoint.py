"""One path of the API: from a request to a call of the store, and from there to an answer."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from typing import Any, assert_never

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from evolvent.errors import Forbidden, UnknownStudy
from evolvent.service.api import operations as api
from evolvent.service.api.operations import LINES, ApiRequest, Operation, PathTemplate
from evolvent.service.api.studies import refuse_foreign
from evolvent.service.api.work import ClaimQueue
from evolvent.service.auth.roles import Identity, check_role, current_identity
from evolvent.service.settings import ServiceSettings
from evolvent.service.web.body import json_object, read_body
from evolvent.service.web.errors import HttpError, to_response
from evolvent.service.web.streaming import FileResponse, StreamedResponse
from evolvent.service.web.threads import StoreThreads
from evolvent.store.codec.fields import Field
from evolvent.store.codec.strict_json import encode
from evolvent.store.protocol import Store

_WORTH_PACKING = 4096
_LEVEL = 4
_LINES_IN_BLOCK = 1000
_MOST_KNOWN = 10_000
_GZIP = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}


class ApiContext:
    """What all operations share."""

    def __init__(self, store: Store, settings: ServiceSettings, threads: StoreThreads) -> None:
        self.store, self.settings, self.threads = store, settings, threads
        self.claims = ClaimQueue(store, threads)
        # Neither changes while a study is there, and errors are not kept: each costs one look.
        self._name = lru_cache(_MOST_KNOWN)(lambda study: store.status(study).record.name)
        self._check_decidable = lru_cache(_MOST_KNOWN)(
            lambda study: refuse_foreign(store.status(study).record.algorithm)
        )

    def check(self, operation: Operation, request: ApiRequest) -> None:
        """Refuse what a token for one study may not do, and what the service cannot decide.

        Raises:
            UnknownStudy: the study is another, or there is none of that number.
            Forbidden: the token is for one study, and this is about none in particular.
            ConfigError: the study decides by code that is not imported here.
        """
        if "study" not in request.path:
            if operation.method != "GET" and (bound := request.identity.study) is not None:
                name = request.identity.name
                raise Forbidden(f"token {name!r} is for study {bound!r} only", field="token")
            return
        self.check_study(request.identity, request.study)
        match operation:
            case api.LongPoll() | api.JsonCall(decides=True):
                self._check_decidable(request.study)

    def check_study(self, identity: Identity, study: int) -> None:
        """Let a token for one study see no other: it is told the same when there is none.

        Raises:
            UnknownStudy: it is another, or there is none of that number.
        """
        if identity.study is None:
            return
        with suppress(UnknownStudy):
            if self._name(study) == identity.study:
                return
        raise UnknownStudy(f"no study of number {study} that this token is for")


class Endpoint:
    """One path: what its methods do."""

    def __init__(self, context: ApiContext, path: PathTemplate, ops: Sequence[Operation]) -> None:
        self._context, self.path = context, path
        self._operations: dict[str, Operation] = {operation.method: operation for operation in ops}
        if (get := self._operations.get("GET")) is not None:
            self._operations["HEAD"] = get
        self.methods = frozenset(self._operations)
        self._allow = ", ".join([*self._operations, "OPTIONS"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Exception as e:  # noqa: BLE001 - every error has an answer
            response = to_response(e)
        await response(scope, receive, send)

    def _answer(self, request: Request) -> Awaitable[Response]:
        identity = current_identity(request)
        if request.method == "OPTIONS":
            return self._options()
        if request.method not in self._operations:
            message = f"method: got {request.method}, wanted {self._allow}"
            raise HttpError(405, message, field="method", headers={"Allow": self._allow})
        operation = self._operations[request.method]
        check_role(identity, operation.role)
        _check_known(request.query_params, operation.query, "a parameter")
        asked = ApiRequest(
            store=self._context.store,
            settings=self._context.settings,
            identity=identity,
            base_url=str(request.base_url).rstrip("/") if request.method == "GET" else "",
            path=self.path.read(request.path_params),
            query=request.query_params,
        )
        # Only now its body may be read: all that can be said without it has been said.
        return self._handle(operation, request, asked)

    async def _options(self) -> Response:
        return Response(status_code=204, headers={"Allow": self._allow})

    def _handle(
        self, operation: Operation, request: Request, asked: ApiRequest
    ) -> Awaitable[Response]:
        match operation:
            case api.JsonCall():
                return self._json(operation, request, asked)
            case api.LongPoll():
                return self._claim(operation, request, asked)
            case api.UploadCall():
                return self._upload(operation, request, asked)
            case api.LinesCall():
                return self._lines(operation, request, asked)
            case api.StreamCall():
                return self._stream(operation, asked)
            case api.DownloadCall():
                return self._download(operation, asked)
            case _:
                assert_never(operation)

    async def _json(self, op: api.JsonCall, request: Request, asked: ApiRequest) -> Response:
        body = {} if op.method == "GET" else await self._body(request, op.body)
        packed = _takes_gzip(request)

        def run() -> Response:
            self._context.check(op, asked)
            reply = op.call(asked, body)
            if op.reply is None:
                return Response(status_code=204)
            status = 201 if op.creates else 200
            return _json_response(op.reply.to_json(reply), status, packed=packed)

        response = await self._context.threads.run(op.runs_in, run)
        # After the store has committed: who is woken earlier would look in vain.
        if op.changes:
            self._context.claims.notify(asked.study)
        return response

    async def _lines(self, op: api.LinesCall, request: Request, asked: ApiRequest) -> Response:
        packed = _takes_gzip(request)
        paged = LINES not in request.headers.get("accept", "")

        def run() -> Response | Generator[bytes, None, None]:
            self._context.check(op, asked)
            if paged and op.page is not None and op.reply is not None:
                page = op.reply.to_json(op.page(asked))
                return _json_response(page, 200, packed=packed)
            blocks = _blocks(op.records(asked), op.line.to_json)
            return _packed(blocks) if packed else blocks

        answer = await self._context.threads.read(run)
        if isinstance(answer, Response):
            return answer
        stream = self._context.threads.stream(answer, holds_snapshot=False)
        first = await anext(stream, b"")  # an error until here is still an answer
        return StreamedResponse(first, stream, headers=_GZIP if packed else None, media_type=LINES)

    async def _stream(self, op: api.StreamCall, asked: ApiRequest) -> Response:
        def run() -> Generator[bytes, None, None]:
            self._context.check(op, asked)
            return op.blocks(asked)

        blocks = await self._context.threads.read(run)
        stream = self._context.threads.stream(blocks, holds_snapshot=True)
        first = await anext(stream, b"")  # as above
        return StreamedResponse(first, stream, media_type=op.media_type)

    async def _download(self, op: api.DownloadCall, asked: ApiRequest) -> Response:
        def run() -> FileResponse:
            self._context.check(op, asked)
            return op.open(asked)

        return await asyncio.to_thread(run)

    async def _upload(self, op: api.UploadCall, request: Request, asked: ApiRequest) -> Response:
        # Before a byte of the body is read: it may be gigabytes.
        await self._context.threads.read(lambda: self._context.check(op, asked))
        reply = await op.receive(asked, request, self._context.threads)
        status = 201 if op.creates else 200
        return _json_response(op.reply.to_json(reply), status, packed=False)

    async def _claim(self, op: api.LongPoll, request: Request, asked: ApiRequest) -> Response:
        body = op.body.from_json(await self._body(request, op.body), "body")

        def check() -> None:
            self._context.check(op, asked)

        def check_later() -> None:
            # The token may have been revoked in a minute of waiting.
            request.state.recheck()
            check()

        lease = await self._context.claims.claim(
            asked.study, body, request.receive, check=check, check_later=check_later
        )
        if lease is None:
            return Response(status_code=204)
        return _json_response(op.reply.to_json(lease), 200, packed=False)

    async def _body(self, request: Request, wanted: Field[Any] | None) -> dict[str, Any]:
        """Return the JSON object that came; of fields that nobody wants none is let through."""
        most = self._context.settings.max_body_bytes
        raw = await read_body(request.headers, request.receive, most=most)
        body = json_object(request.headers, raw)
        _check_known(body, {} if wanted is None else wanted.schema["properties"], "a field")
        return body


def _check_known(given: Mapping[str, Any], known: Mapping[str, Any], what: str) -> None:
    for name in given:
        if name not in known:
            wanted = ", ".join(known) or "none"
            message = f"{name:.80}: not {what} of this request, wanted {wanted}"
            raise HttpError(422, message, kind="ConfigError", field=name[:80] or "body")


def _takes_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")


def _json_response(value: Any, status: int, *, packed: bool) -> Response:
    text = encode(value).encode("ascii")
    if packed and len(text) >= _WORTH_PACKING:
        text = zlib.compress(text, _LEVEL, wbits=31)
        return Response(text, status, _GZIP, media_type="application/json")
    return Response(text, status, media_type="application/json")


def _blocks(records: Iterable[Any], to_json: Callable[[Any], Any]) -> Generator[bytes, None, None]:
    """Yield records as JSON lines, many to a block; at least one block, be it empty."""
    left = iter(records)
    while True:
        batch = [encode(to_json(record)) for record in islice(left, _LINES_IN_BLOCK)]
        yield ("\n".join(batch) + "\n").encode("ascii") if batch else b""
        if len(batch) < _LINES_IN_BLOCK:
            return


def _packed(blocks: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
    pack = zlib.compressobj(_LEVEL, wbits=31)
    for block in blocks:
        yield pack.compress(block) + pack.flush(zlib.Z_SYNC_FLUSH)
    yield pack.flush()

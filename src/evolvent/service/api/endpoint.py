"""One path of the API: from a request to a call of the store, and from there to an answer."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from evolvent.errors import Forbidden, UnknownStudy
from evolvent.service.api import work
from evolvent.service.api.long_poll import ClaimQueue
from evolvent.service.api.policy import DecisionPolicy
from evolvent.service.api.request import LINES, ApiRequest, Operation, Stream
from evolvent.service.auth.middleware import recheck_identity
from evolvent.service.auth.roles import Identity, check_role, current_identity
from evolvent.service.settings import ServiceSettings
from evolvent.service.web.body import check_type, json_object, read_body, spooled
from evolvent.service.web.errors import HttpError, to_response
from evolvent.service.web.streaming import StreamedResponse
from evolvent.service.web.threads import StoreThreads
from evolvent.store.codec.messages import lease_to_json
from evolvent.store.protocol import Store

_WORTH_PACKING = 4096
_LEVEL = 4

_T = TypeVar("_T")

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class ApiContext:
    """What all operations share.

    Args:
        store: what is served.
        settings: of the service.
        threads: where the store is called.
    """

    def __init__(self, store: Store, settings: ServiceSettings, threads: StoreThreads) -> None:
        self.store, self.settings, self.threads = store, settings, threads
        self.claims = ClaimQueue(store, threads)
        self._policy = DecisionPolicy(store)
        self._names: dict[int, str] = {}

    def check(self, operation: Operation, call: ApiRequest) -> None:
        """Refuse what a token for one study may not do, and what the service cannot decide.

        Raises:
            UnknownStudy: the study is another, or there is none of that number.
            Forbidden: the token is for one study, and this is about none in particular.
            ConfigError: the study decides by code that is not imported here.
        """
        if "study" in call.path:
            self.check_study(call.identity, call.study)
            if operation.decides:
                self._policy.check(call.study)
        elif operation.method != "GET" and call.identity.study is not None:
            raise Forbidden(
                f"token {call.identity.name!r} is for study {call.identity.study!r} only"
            )

    def check_study(self, identity: Identity, study: int) -> None:
        """Let a token for one study see no other: it is told the same when there is none.

        Raises:
            UnknownStudy: it is another, or there is none of that number.
        """
        if identity.study is not None and self._name(study) != identity.study:
            raise UnknownStudy(f"no study of number {study} that this token is for")

    def _name(self, study: int) -> str | None:
        name = self._names.get(study)
        if name is None:
            with suppress(UnknownStudy):
                name = self._names[study] = self.store.status(study).record.name
        return name


class Endpoint:
    """One path: what its methods do."""

    def __init__(self, context: ApiContext, operations: Sequence[Operation]) -> None:
        self._context = context
        self._operations: dict[str, Operation] = {o.method: o for o in operations}
        if (get := self._operations.get("GET")) is not None:
            self._operations["HEAD"] = get
        self.methods = frozenset(self._operations)
        self._allow = ", ".join([*self._operations, "OPTIONS"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            response = await self._response(Request(scope), receive)
        except Exception as e:  # noqa: BLE001 - every error has an answer
            response = to_response(e)
        await response(scope, receive, send)

    async def _response(self, request: Request, receive: Receive) -> Response:
        identity = current_identity(request)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": self._allow})
        operation = self._operations.get(request.method)
        if operation is None:
            message = f"method: got {request.method}, wanted {self._allow}"
            raise HttpError(405, message, field="method", allow=self._allow)
        check_role(identity, operation.role)
        _check_known(request.query_params, operation.query, "a parameter")
        if operation.takes is not None:  # before gigabytes are taken in
            empty = self._call(request, identity, {})
            await self._context.threads.read(lambda: self._context.check(operation, empty))
        async with self._taken(request, receive, operation) as taken:
            call = self._call(request, identity, taken)
            if operation.waits:
                return await self._claim(operation, call, request, receive)
            if operation.receives is not None:
                await self._context.threads.read(lambda: self._context.check(operation, call))
                return await operation.receives(call, request.headers, receive)
            return await self._done(operation, call, request)

    @asynccontextmanager
    async def _taken(
        self, request: Request, receive: Receive, operation: Operation
    ) -> AsyncIterator[dict[str, Any] | Path]:
        """Give what came with a request: a JSON object, or a file with the whole body."""
        settings = self._context.settings
        if operation.takes is not None:
            check_type(request.headers, operation.takes)
            async with spooled(request.headers, receive, most=settings.max_study_bytes) as path:
                yield path
        elif operation.method == "GET" or operation.receives is not None:
            yield {}
        else:
            raw = await read_body(request.headers, receive, most=settings.max_body_bytes)
            body = json_object(request.headers, raw)
            known = {} if operation.body is None else operation.body["properties"]
            _check_known(body, known, "a field")
            yield body

    def _call(
        self, request: Request, identity: Identity, taken: dict[str, Any] | Path
    ) -> ApiRequest:
        return ApiRequest(
            store=self._context.store,
            settings=self._context.settings,
            identity=identity,
            base_url=str(request.base_url).rstrip("/") if request.method == "GET" else "",
            path=request.path_params,
            query=request.query_params,
            body=taken if isinstance(taken, dict) else {},
            upload=taken if isinstance(taken, Path) else None,
            lines=LINES in request.headers.get("accept", ""),
        )

    async def _done(self, operation: Operation, call: ApiRequest, request: Request) -> Response:
        packed = "gzip" in request.headers.get("accept-encoding", "")
        cross = self._threads(operation)
        made = await cross(lambda: self._run(operation, call, packed=packed))
        if operation.changes:
            self._context.claims.notify(call.study)
        return made if isinstance(made, Response) else await self._streamed(made, packed=packed)

    def _threads(self, operation: Operation) -> Callable[[Callable[[], _T]], Awaitable[_T]]:
        threads = self._context.threads
        if operation.slow:
            return threads.slow
        if operation.files:
            return threads.files
        return threads.read if operation.method == "GET" else threads.write

    def _run(self, operation: Operation, call: ApiRequest, *, packed: bool) -> Response | Stream:
        """Do what is asked, in a thread: parse, call the store, render."""
        self._context.check(operation, call)
        found = operation.run(call)
        if isinstance(found, (Stream, Response)):
            return found
        if found is None:
            return Response(status_code=204)
        return _rendered(found, 201 if operation.creates else 200, packed=packed)

    async def _claim(
        self, operation: Operation, call: ApiRequest, request: Request, receive: Receive
    ) -> Response:
        def check() -> None:
            self._context.check(operation, call)

        def check_later() -> None:
            recheck_identity(request)
            check()

        study, wish = call.study, work.claim_body(call)
        lease = await self._context.claims.claim(
            study, wish, receive, check=check, check_later=check_later
        )
        if lease is None:
            return Response(status_code=204)
        return _rendered(lease_to_json(lease), 200, packed=False)

    async def _streamed(self, made: Stream, *, packed: bool) -> Response:
        packed = packed and made.media_type == LINES
        blocks = _packed(made.blocks) if packed else made.blocks
        stream = self._context.threads.stream(blocks, holds_snapshot=made.holds_snapshot)
        first = await anext(stream, b"")  # an error until here is still an answer
        headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"} if packed else None
        return StreamedResponse(first, stream, headers=headers, media_type=made.media_type)


def _check_known(given: Mapping[str, Any], known: Mapping[str, Any], what: str) -> None:
    for name in given:
        if name not in known:
            wanted = ", ".join(known) or "none"
            message = f"{name:.80}: not {what} of this request, wanted {wanted}"
            raise HttpError(422, message, kind="ConfigError", field=name[:80] or "body")


def _rendered(found: Any, status: int, *, packed: bool) -> Response:
    text = _encode(found).encode("ascii")
    headers = {}
    if packed and len(text) >= _WORTH_PACKING:
        text = zlib.compress(text, _LEVEL, wbits=31)
        headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return Response(text, status, headers, media_type="application/json")


def _packed(blocks: Iterator[bytes]) -> Iterator[bytes]:
    pack = zlib.compressobj(_LEVEL, wbits=31)
    for block in blocks:
        yield pack.compress(block) + pack.flush(zlib.Z_SYNC_FLUSH)
    yield pack.flush()

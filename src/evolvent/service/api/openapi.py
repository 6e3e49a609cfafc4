"""The OpenAPI 3.1 document, made from the table of operations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, assert_never

from evolvent.service.api import operations as api
from evolvent.store.codec import fields, file_list, messages
from evolvent.store.codec.fields import Field

_JSON = "application/json"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_ALWAYS = {
    400: "The request cannot be read.",
    401: "No token, or none that opens anything.",
    403: "The token does not allow this.",
    422: "A value is not usable; `field` says which.",
    503: "The store cannot be reached now: try again after `Retry-After` seconds.",
    507: "The disk of the service is full.",
}
_WITH_BODY = {
    408: "The body did not come in time.",
    413: "The body is too long.",
    415: "The body is of another type.",
}
_SOMETIMES = {
    404: "There is no such study, job or file.",
    409: "The state does not allow it: name taken, lease lost, checkpoint gone.",
    416: "No such range of the file.",
}
_ERRORS = {**_ALWAYS, **_WITH_BODY, **_SOMETIMES}
_DESCRIPTION = (
    "Studies, jobs and checkpoints of one store. Every request needs a token: "
    "`Authorization: Bearer evt_…`. A call with a `key` that is sent again, because its answer was "
    "lost, is done once. Lists come in pages, or whole as JSON lines "
    f"(`Accept: {api.LINES}`)."
)


def describe(operations: Iterable[api.Operation], *, prefix: str) -> dict[str, Any]:
    """Return the document of operations, whose paths all begin with a prefix, as JSON."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        methods = paths.setdefault(f"{prefix}{operation.path}", {})
        methods[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "evolvent", "version": "1", "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": {name: _inside(schema) for name, schema in _named().items()},
            "responses": {
                str(status): {"description": words, "content": _json(messages.ERROR)}
                for status, words in _ERRORS.items()
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _described(operation: api.Operation) -> dict[str, Any]:
    taken, given = _taken(operation), _given(operation)
    statuses = {*_ALWAYS, *(_WITH_BODY if taken else ()), *operation.errors}
    if "{" in operation.path:
        statuses.add(404)
    errors = {str(s): {"$ref": f"#/components/responses/{s}"} for s in sorted(statuses)}
    described: dict[str, Any] = {
        "operationId": "_".join([operation.method.lower(), *re.findall(r"\w+", operation.path)]),
        "summary": operation.summary,
        "description": f"Needs the role {operation.role.name.lower()}.",
        "parameters": list(_parameters(operation)),
        "responses": {**given, **errors},
    }
    return described | taken


def _parameters(operation: api.Operation) -> Iterator[dict[str, Any]]:
    for name in api.PathTemplate(operation.path).parameters:
        schema = _inside(api.PARAMETERS[name][1])
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    for name, schema in operation.query.items():
        required = name in operation.needs
        yield {"name": name, "in": "query", "required": required, "schema": _inside(schema)}


def _taken(operation: api.Operation) -> dict[str, Any]:
    """Return what is said of the body that comes; nothing where none does."""
    match operation:
        case api.JsonCall(body=None) | api.LinesCall() | api.StreamCall() | api.DownloadCall():
            return {}
        case api.JsonCall(body=body) | api.LongPoll(body=body):
            required = body is not None and bool(body.schema["required"])
            return {"requestBody": {"required": required, "content": _json(body)}}
        case api.UploadCall(media_type=media_type):
            return {"requestBody": {"required": True, "content": {media_type: _BINARY}}}
        case _:
            assert_never(operation)


def _given(operation: api.Operation) -> dict[str, Any]:
    """Return what is said of the answers when all is well."""
    match operation:
        case api.JsonCall(reply=None):
            return {"204": {"description": "Done."}}
        case api.JsonCall(creates=creates) | api.UploadCall(creates=creates):
            return {"201" if creates else "200": _done(_json(operation.reply))}
        case api.StreamCall(media_type=media_type):
            return {"200": _done({media_type: _BINARY})}
        case api.LinesCall(line=line, reply=reply):
            lines = {api.LINES: {"schema": {"type": "string"}, "x-line": _ref(line.schema)}}
            return {"200": _done(_json(reply) | lines)}
        case api.DownloadCall():
            whole = _done({api.BYTES: _BINARY})
            return {"200": whole, "206": {**whole, "description": "A part of the file."}}
        case api.LongPoll(reply=reply):
            return {"200": _done(_json(reply)), "204": {"description": "There is no job now."}}
        case _:
            assert_never(operation)


def _json(kind: Field[Any] | None) -> dict[str, Any]:
    return {} if kind is None else {_JSON: {"schema": _ref(kind.schema)}}


def _done(content: dict[str, Any]) -> dict[str, Any]:
    return {"description": "Done.", "content": content}


@cache
def _named() -> dict[str, Mapping[str, Any]]:
    """Return the schemas of objects by the names that the document gives them."""
    return {
        name.title().replace("_", ""): kind.schema
        for name, kind in {**vars(fields), **vars(file_list), **vars(messages)}.items()
        if isinstance(kind, Field) and name[0] != "_" and kind.schema.get("type") == "object"
    }


@cache
def _names() -> dict[int, str]:
    return {id(schema): name for name, schema in _named().items()}


def _ref(schema: Any) -> Any:
    """Return a schema with those inside it that have names named."""
    name = _names().get(id(schema))
    return _inside(schema) if name is None else {"$ref": f"#/components/schemas/{name}"}


def _inside(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        return {key: _ref(value) for key, value in schema.items()}
    return [_ref(value) for value in schema] if isinstance(schema, (list, tuple)) else schema

"""The OpenAPI 3.1 document, made from the table of operations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from evolvent.service.api import schemas
from evolvent.service.api.request import LINES, Operation

_JSON, _BYTES = "application/json", "application/octet-stream"
_PARAMETER = re.compile(r"{(\w+)}")
_IN_PATH: Mapping[str, Mapping[str, Any]] = {
    "study": schemas.SMALL,
    "member": schemas.SMALL,
    "job": schemas.JOB_NAME,
    "name": {"type": "string", "minLength": 1, "maxLength": 100},
    "address": schemas.ADDRESS,
    "index": schemas.COUNT,
    "upload": schemas.TEXT,
}
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
_RANGE_ERROR = 416
_ERRORS = {**_ALWAYS, **_WITH_BODY, **_SOMETIMES}
_DESCRIPTION = (
    "Studies, jobs and checkpoints of one store. Every request needs a token: "
    "`Authorization: Bearer evt_…`. A call with a `key` that is sent again, because its answer was "
    "lost, is done once. Lists come in pages, or whole as JSON lines "
    f"(`Accept: {LINES}`)."
)


def describe(operations: Iterable[Operation], *, prefix: str) -> dict[str, Any]:
    """Return the document of operations, whose paths all begin with a prefix, as JSON."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        its = paths.setdefault(f"{prefix}{operation.path}", {})
        its[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "evolvent", "version": "1", "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": {name: _inside(schema) for name, schema in _named().items()},
            "responses": {str(status): _error(words) for status, words in _ERRORS.items()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _name(operation),
        "summary": operation.summary,
        "description": f"Needs the role {operation.role.name.lower()}.",
        "parameters": list(_parameters(operation)),
        "responses": {**_success(operation), **_errors(operation)},
    }
    if (content := _taken(operation)) is not None:
        described["requestBody"] = {"required": bool(_required(operation)), "content": content}
    return described


def _name(operation: Operation) -> str:
    words = re.findall(r"\w+", operation.path)
    return "_".join([operation.method.lower(), *words])


def _parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for name in _PARAMETER.findall(operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": _inside(_IN_PATH[name])}
    for name, schema in operation.query.items():
        required = name in operation.needs
        yield {"name": name, "in": "query", "required": required, "schema": _inside(schema)}


def _required(operation: Operation) -> bool:
    return operation.body is None or bool(operation.body.get("required"))


def _taken(operation: Operation) -> dict[str, Any] | None:
    if operation.takes is not None:
        return {operation.takes: {"schema": {"type": "string", "format": "binary"}}}
    if operation.receives is not None:
        return {_BYTES: {"schema": {"type": "string", "format": "binary"}}}
    return None if operation.body is None else {_JSON: {"schema": _ref(operation.body)}}


def _success(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if operation.reply is not None:
        content[_JSON] = {"schema": _ref(operation.reply)}
    if operation.lines is not None:
        content[LINES] = {"schema": {"type": "string"}, "x-line": _ref(operation.lines)}
    if operation.gives is not None or (operation.binary and operation.reply is None):
        content[operation.gives or _BYTES] = {"schema": {"type": "string", "format": "binary"}}
    found: dict[str, Any] = {}
    if content:
        status = "201" if operation.creates else "200"
        found[status] = {"description": "Done.", "content": content}
    if not content or operation.waits:
        found["204"] = {"description": "There is no job now." if operation.waits else "Done."}
    if _RANGE_ERROR in operation.errors:
        found["206"] = {"description": "A part of the file.", "content": content}
    return found


def _errors(operation: Operation) -> dict[str, Any]:
    has_body = _taken(operation) is not None
    told = {*_ALWAYS, *(_WITH_BODY if has_body else ()), *operation.errors}
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(told)}


def _error(words: str) -> dict[str, Any]:
    return {"description": words, "content": {_JSON: {"schema": _ref(schemas.ERROR)}}}


@cache
def _named() -> dict[str, Mapping[str, Any]]:
    """Return the schemas of objects by the names that the document gives them."""
    return {
        name.title().replace("_", ""): schema
        for name, schema in vars(schemas).items()
        if name.isupper() and isinstance(schema, dict) and schema.get("type") == "object"
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

"""The API: every operation of the table behind its path."""

from __future__ import annotations

from functools import cache
from typing import Any

from starlette.routing import Route

from evolvent.service.api import archive, checkpoints, log, studies, work
from evolvent.service.api.endpoint import ApiContext, Endpoint
from evolvent.service.api.openapi import describe
from evolvent.service.api.operations import JsonCall, Operation, PathTemplate
from evolvent.service.auth.roles import Role
from evolvent.store.codec.fields import Field, object_

PREFIX = "/api/v1"


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document of all operations as JSON."""
    return describe(OPERATIONS, prefix=PREFIX)


OPERATIONS: tuple[Operation, ...] = (
    *work.OPERATIONS,  # first: what workers send most is found soonest
    *studies.OPERATIONS,
    *log.OPERATIONS,
    *archive.OPERATIONS,
    *checkpoints.OPERATIONS,
    JsonCall(
        method="GET", path="/openapi.json", role=Role.VIEWER, run=lambda _: document(),
        summary="This document.", reply=Field({"type": "object"}, object_),
    ),
)  # fmt: skip


def routes(context: ApiContext) -> list[Route]:
    """Return a route for every path of the table."""
    by_path: dict[str, list[Operation]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, []).append(operation)
    endpoints = [Endpoint(context, PathTemplate(path), ops) for path, ops in by_path.items()]
    return [Route(f"{PREFIX}{endpoint.path.pattern}", endpoint) for endpoint in endpoints]

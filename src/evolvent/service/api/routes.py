"""The API: every operation of the table behind its path."""

from __future__ import annotations

from functools import cache
from typing import Any

from starlette.routing import Route

from evolvent.service.api import archive, checkpoints, log, studies, work
from evolvent.service.api.endpoint import ApiContext, Endpoint
from evolvent.service.api.openapi import describe
from evolvent.service.api.operations import ApiRequest, JsonCall, Operation, PathTemplate
from evolvent.service.auth.middleware import Role
from evolvent.store.codec.fields import Field, object_

PREFIX = "/api/v1"


def _show(_: ApiRequest) -> Any:
    return document()


OPERATIONS: tuple[Operation, ...] = (
    *work.OPERATIONS,  # first: what workers send most is found soonest
    *studies.OPERATIONS,
    *log.OPERATIONS,
    *archive.OPERATIONS,
    *checkpoints.OPERATIONS,
    JsonCall(
        method="GET",
        path="/openapi.json",
        role=Role.VIEWER,
        run=_show,
        summary="This document.",
        reply=Field({"type": "object"}, object_),
    ),
)


def routes(context: ApiContext) -> list[Route]:
    """Return a route for every path of the table."""
    by_path: dict[str, list[Operation]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, []).append(operation)
    templates = {path: PathTemplate(path) for path in by_path}
    return [
        Route(f"{PREFIX}{template.pattern}", Endpoint(context, template, by_path[path]))
        for path, template in templates.items()
    ]


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document of all operations as JSON."""
    return describe(OPERATIONS, prefix=PREFIX)

"""The API: every operation of the table behind its path."""

from __future__ import annotations

from functools import cache
from typing import Any

from starlette.routing import Route

from evolvent.service.api import archive, checkpoints, log, studies, uploads, work
from evolvent.service.api.endpoint import ApiContext, Endpoint
from evolvent.service.api.openapi import describe
from evolvent.service.api.request import ApiRequest, Operation
from evolvent.service.auth.roles import Role

PREFIX = "/api/v1"
DOCUMENTED: tuple[Operation, ...] = (
    *work.OPERATIONS,  # first: what workers send most is found soonest
    *studies.OPERATIONS,
    *studies.CONTROL_OPERATIONS,
    *log.OPERATIONS,
    *archive.OPERATIONS,
    *checkpoints.OPERATIONS,
    *uploads.OPERATIONS,
)
"""All but the one that gives the document about them, which is in `api`."""
__all__ = ["OPERATIONS", "PREFIX", "ApiContext", "document", "routes"]


def _show(_: ApiRequest) -> Any:
    return document()


OPERATIONS: tuple[Operation, ...] = (
    *DOCUMENTED,
    Operation(
        method="GET",
        path="/openapi.json",
        role=Role.VIEWER,
        run=_show,
        summary="This document.",
        reply={"type": "object"},
    ),
)


def routes(context: ApiContext) -> list[Route]:
    """Return a route for every path of the table."""
    paths = dict.fromkeys(operation.path for operation in OPERATIONS)
    by_path = {path: [o for o in OPERATIONS if o.path == path] for path in paths}
    return [
        Route(f"{PREFIX}{_pattern(path)}", Endpoint(context, operations))
        for path, operations in by_path.items()
    ]


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document of all operations as JSON."""
    return describe(OPERATIONS, prefix=PREFIX)


def _pattern(path: str) -> str:
    return path.replace("{name}", "{name:path}")  # names may have slashes in them

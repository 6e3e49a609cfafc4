"""The API: every operation in one visible table, each path with its route."""

from __future__ import annotations

from starlette.routing import Route

from evolvent.service import (
    api_control,
    api_read,
    api_studies,
    api_whole,
    api_work,
    checkpoints,
    uploads,
)
from evolvent.service.calls import Operation
from evolvent.service.resource import Api, Resource

__all__ = ["OPERATIONS", "PREFIX", "Api", "Resource", "routes"]

PREFIX = "/api/v1"

OPERATIONS: tuple[Operation, ...] = (
    *api_work.OPERATIONS,  # first: what workers send most is found soonest
    *api_studies.OPERATIONS,
    *api_control.OPERATIONS,
    *api_read.OPERATIONS,
    *api_whole.OPERATIONS,
    *checkpoints.OPERATIONS,
    *uploads.OPERATIONS,
)


def routes(api: Api) -> list[Route]:
    """Return a route for every path of the table."""
    paths = dict.fromkeys(operation.path for operation in OPERATIONS)
    found = {path: [o for o in OPERATIONS if o.path == path] for path in paths}
    return [
        Route(f"{PREFIX}{_pattern(path)}", Resource(api, operations))
        for path, operations in found.items()
    ]


def _pattern(path: str) -> str:
    return path.replace("{name}", "{name:path}")  # names may have slashes in them

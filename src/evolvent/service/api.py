"""The API: every operation of the table behind its path."""

from __future__ import annotations

from starlette.routing import Route

from evolvent.service.calls import Operation
from evolvent.service.openapi import OPERATION
from evolvent.service.operations import DOCUMENTED, PREFIX
from evolvent.service.resource import Api, Resource

__all__ = ["OPERATIONS", "PREFIX", "Api", "routes"]

OPERATIONS: tuple[Operation, ...] = (*DOCUMENTED, OPERATION)


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

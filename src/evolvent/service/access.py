"""Who may do what: a table of all that is served but the API, whose operations say it themselves.

A route that is not in it is not served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from evolvent.service.auth.roles import Role, check_role, current_identity

NOBODY, VIEWER, ADMIN = None, Role.VIEWER, Role.ADMIN

PAGES: Mapping[str, Role | None] = {
    "GET /health": NOBODY,
    "GET /sign-in": NOBODY,
    "POST /sign-in": NOBODY,
    "POST /sign-out": VIEWER,
    "GET /": VIEWER,
    "GET /studies/{study}": VIEWER,
    "GET /studies/{study}/jobs.csv": VIEWER,
    "GET /studies/{study}/figures/{kind}": VIEWER,
    "POST /studies/{study}/{action}": ADMIN,
    "GET /studies/{study}/jobs/{job}": VIEWER,
    "GET /studies/{study}/jobs/{job}/points": VIEWER,
    "GET /static/figures.lib.js": VIEWER,
    "GET /static/{version}/{name}": VIEWER,
}
"""The least role for each route; NOBODY in particular: no token. A token for one study has its role
for that study only: for all others it is told what it would be told if there were no such study."""


def guarded(routes: Sequence[Route]) -> list[Route]:
    """Return routes that ask for the role of the table before anything else.

    Raises:
        LookupError: a route is not in the table.
    """
    for route in routes:
        methods = route.methods or set()
        lines = {m: f"{'GET' if m == 'HEAD' else m} {route.path}" for m in sorted(methods)}
        if missing := [line for line in lines.values() if line not in PAGES]:
            raise LookupError(
                f"{missing[0]!r} is not in the table of who may do what, service/access.py"
            )
        route.app = _Guarded(route.app, {method: PAGES[line] for method, line in lines.items()})
    return list(routes)


class _Guarded:
    def __init__(self, app: ASGIApp, roles: Mapping[str, Role | None]) -> None:
        self.app = app
        self._roles = roles

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        role = self._roles[scope["method"]]
        if role is not None:
            check_role(current_identity(Request(scope)), role)
        await self.app(scope, receive, send)

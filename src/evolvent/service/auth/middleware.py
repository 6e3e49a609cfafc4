"""What every request passes first and every answer last: who is asking, and headers for browsers.

Nothing passes without a token but the health check and signing in. What a route asks for is said by
the table in `service.access`, and by the operations of the API.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from urllib.parse import quote

from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evolvent.errors import EvolventError, Forbidden, Unauthenticated
from evolvent.service.auth.authenticator import Authenticator
from evolvent.service.auth.csrf import SAFE, check_csrf, csrf_for
from evolvent.service.web.errors import to_response

SIGN_IN = "/sign-in"
OPEN = frozenset({("GET", "/health"), ("HEAD", "/health"), ("GET", SIGN_IN), ("POST", SIGN_IN)})
"""What needs no token."""

_SCHEME = "bearer "
_NO_TOKEN = (
    "this needs a token: set EVOLVENT_TOKEN or run `evolvent login`; by plain HTTP send "
    "'Authorization: Bearer evt_…'"
)


class Role(IntEnum):
    """What a token allows; each role includes those before it."""

    VIEWER = 1  # read everything
    WORKER = 2  # claim, report, push checkpoints
    ADMIN = 3  # create, stop, extend, delete


@dataclass(frozen=True, slots=True)
class Identity:
    """Whoever sent this request.

    Attributes:
        role: what they may do.
        study: the name of the one study they may touch; None for all.
        name: of the token, for the log and for rate limits.
    """

    role: Role
    study: str | None
    name: str


def current_identity(request: HTTPConnection) -> Identity:
    """Return who is asking.

    Raises:
        Unauthenticated: nobody known.
    """
    identity = getattr(request.state, "identity", None)
    if not isinstance(identity, Identity):
        raise Unauthenticated("this needs a token: send 'Authorization: Bearer evt_…'")
    return identity


def check_role(identity: Identity, role: Role) -> None:
    """Refuse a role that is too low.

    Raises:
        Forbidden: it is.
    """
    if identity.role < role:
        raise Forbidden(
            f"token {identity.name!r} has the role {identity.role.name.lower()}: "
            f"this needs {role.name.lower()}",
            field="token",
        )


class AuthMiddleware:
    """Middleware that finds out who is asking, and turns everybody else away.

    Puts an `Identity` on `request.state.identity`, on `request.state.csrf` what a page's forms must
    send back (see `csrf.csrf_of`), and on `request.state.recheck` what looks again after a wait, in
    a thread of the store: it raises Unauthenticated when the token has been revoked meanwhile.
    """

    def __init__(self, app: ASGIApp, *, authenticator: Authenticator) -> None:
        self.app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http" and (scope["method"], scope["path"]) not in OPEN:
            request = Request(scope)
            try:
                receive = await self._admit(request, receive)
            except EvolventError as e:
                await _refuse(e, request)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _admit(self, request: Request, receive: Receive) -> Receive:
        """Note who is asking; return what to read the body from."""
        authorization = request.headers.get("authorization")
        # Before the cookie: no browser adds this by itself, so there is nothing to forge.
        if authorization is not None:
            if not authorization.lower().startswith(_SCHEME):
                raise Unauthenticated("Authorization: wanted 'Bearer evt_…'")
            secret, csrf = authorization[len(_SCHEME) :].strip(), ""
            token = await self._authenticator.authenticate(request, secret)
            recheck: Callable[[], object] = partial(self._authenticator.recheck_token, secret)
        else:
            found = await self._authenticator.authenticate_session(request)
            if found is None:
                raise Unauthenticated(_NO_TOKEN)
            token, signed_in = found
            csrf = csrf_for(signed_in)
            recheck = partial(self._authenticator.recheck_session, signed_in)
        request.state.identity = Identity(Role[token.role.upper()], token.study, token.name)
        request.state.csrf, request.state.recheck = csrf, recheck
        if not csrf or request.method in SAFE:
            return receive
        # After the session, whose secret the token is made of; before any handler reads the body.
        return await check_csrf(request.headers, receive, csrf=csrf)


def _refuse(error: EvolventError, request: Request) -> Response:
    if isinstance(error, Unauthenticated) and is_navigation(request):
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"{SIGN_IN}?next={quote(target, safe='')}", status_code=303)
    return to_response(error)


def is_navigation(request: Request) -> bool:
    """Whether a person waits for a page."""
    return request.method in SAFE and "text/html" in request.headers.get("accept", "")


_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
}


def content_security_policy(**changes: str) -> str:
    """Return the policy, with a few directives changed, such as `style_src="'sha256-…'"`."""
    changed = {name.replace("_", "-"): value for name, value in changes.items()}
    return "; ".join(f"{name} {value}" for name, value in (_POLICY | changed).items())


HEADERS = {
    "Content-Security-Policy": content_security_policy(),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for what does not know frame-ancestors
    # Tells other sites nothing. "no-referrer" would also make browsers send "Origin: null" with
    # our own forms, and that header is how plain HTTP tells our forms from those of others.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Set on every answer that does not set them itself."""

_RAW_HEADERS = {name.lower().encode(): value.encode() for name, value in HEADERS.items()}


class SecurityHeaders:
    """Middleware that completes the headers of every answer, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass a request on."""
        if scope["type"] != "http":
            return self.app(scope, receive, send)

        def complete(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                missing = dict(_RAW_HEADERS)
                for name, _ in message["headers"]:
                    missing.pop(name, None)
                message["headers"] = [*message["headers"], *missing.items()]
            return send(message)

        return self.app(scope, receive, complete)

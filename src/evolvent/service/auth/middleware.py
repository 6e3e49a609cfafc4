"""Authentication first: nothing passes without a token but the health check and signing in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from evolvent.errors import EvolventError, Unauthenticated
from evolvent.service.auth.authenticator import Authenticator
from evolvent.service.auth.csrf import SAFE, check_csrf, csrf_for
from evolvent.service.auth.roles import Identity, Role
from evolvent.service.web.errors import to_response

SIGN_IN = "/sign-in"
OPEN = frozenset({("GET", "/health"), ("HEAD", "/health"), ("GET", SIGN_IN), ("POST", SIGN_IN)})
"""What needs no token."""

_SCHEME = "bearer "
_NO_TOKEN = (
    "this needs a token: set EVOLVENT_TOKEN or run `evolvent login`; by plain HTTP send "
    "'Authorization: Bearer evt_…'"
)


class AuthMiddleware:
    """Middleware that finds out who is asking, and turns everybody else away.

    Puts an `Identity` on `request.state.identity`, on `request.state.csrf` what a page's forms must
    send back (empty where the request came with a bearer token, which no browser sends by
    itself), and on `request.state.recheck` what looks again after a wait, in a thread of the store:
    it raises Unauthenticated when the token has been revoked meanwhile.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticator: Authenticator,
        refuse: Callable[[Request, Exception], Response] = lambda _, error: to_response(error),
    ) -> None:
        self.app = app
        self._authenticator, self._refuse = authenticator, refuse

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
                answer = _sign_in(e, request) or self._refuse(request, e)
                await answer(scope, receive, send)
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


def _sign_in(error: EvolventError, request: Request) -> Response | None:
    """Return the way to the page to sign in, for who may still do so."""
    if not isinstance(error, Unauthenticated) or not wants_page(request):
        return None
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if request.method not in SAFE:  # a form of a page that was open for too long
        target = "/"
    return RedirectResponse(f"{SIGN_IN}?next={quote(target, safe='')}", status_code=303)


def wants_page(request: Request) -> bool:
    """Whether a person waits for a page: by a link, or by a form."""
    by_browser = request.method in SAFE or request.method == "POST"
    return by_browser and "text/html" in request.headers.get("accept", "")

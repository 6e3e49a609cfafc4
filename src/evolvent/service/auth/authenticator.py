"""Who is asking: tokens and signed-in browsers are looked up; what fails too often is not."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.requests import HTTPConnection
from starlette.responses import Response

from evolvent.errors import Unauthenticated
from evolvent.service.auth.throttle import ActiveHashes, Clock, FailureLimits, Throttled
from evolvent.service.settings import ServiceSettings
from evolvent.service.web.threads import StoreThreads
from evolvent.store.tokens import Token, Tokens


class Authenticator:
    """Recognises tokens; nothing is remembered that would outlast their end.

    The store is asked in `threads`, off the event loop; `clock` tells seconds, for the rate limits.
    """

    def __init__(
        self,
        tokens: Tokens,
        settings: ServiceSettings,
        threads: StoreThreads,
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._threads = threads
        self._lifetime_s = settings.signed_in_s
        self._limits = FailureLimits(clock)
        self._active = ActiveHashes(lambda: threads.read(tokens.active_hashes), clock)
        # For who was right when the request came: after a wait, in a thread of the store.
        self.recheck_token = tokens.authenticate
        self.recheck_session = tokens.authenticate_session

    async def authenticate(self, request: HTTPConnection, secret: str) -> Token:
        """Return the token that a program has sent.

        Raises:
            Unauthenticated: it opens nothing.
            Throttled: likewise, and too many have failed before it.
        """
        return await self._recognise(request, secret, self._tokens.authenticate)

    async def authenticate_session(self, request: HTTPConnection) -> tuple[Token, str] | None:
        """Return the token that a browser signed in with, and the secret that stands for it."""
        secret = request.cookies.get(_cookie(request))
        if not secret:
            return None
        try:
            look = self._tokens.authenticate_session
            return await self._recognise(request, secret, look), secret
        except Unauthenticated:
            return None

    async def sign_in(self, request: HTTPConnection, secret: str, response: Response) -> None:
        """Give a browser a cookie in exchange for a token.

        Raises:
            Unauthenticated: it opens nothing.
            Throttled: likewise, and too many have failed before it.
        """
        token = await self.authenticate(request, secret)
        session = await self._threads.write(
            lambda: self._tokens.sign_in(token, lifetime_s=self._lifetime_s)
        )
        # Strict: no other site can make the browser send it; httponly: no script can read it.
        response.set_cookie(
            _cookie(request),
            session,
            max_age=int(self._lifetime_s),
            secure=_encrypted(request),
            httponly=True,
            samesite="strict",
        )

    async def sign_out(self, request: HTTPConnection, response: Response) -> None:
        """Forget a browser that signed in."""
        name = _cookie(request)
        if secret := request.cookies.get(name):
            await self._threads.write(lambda: self._tokens.sign_out(secret))
        response.delete_cookie(name, secure=_encrypted(request), httponly=True, samesite="strict")

    async def _recognise(
        self, request: HTTPConnection, secret: str, look: Callable[[str], Token]
    ) -> Token:
        """Look a secret up, unless it is known to be wrong and too many have been."""
        host = client_host(request)
        wait_s = self._limits.wait_s(host)
        if wait_s and not await self._active.includes(secret):
            raise Throttled(wait_s)
        try:
            # Every request comes through here: a change of threads would cost more than the look.
            if self._tokens.is_local:
                return look(secret)
            return await self._threads.write(lambda: look(secret))  # nobody reads long tables there
        except Unauthenticated:
            self._active.discard(secret)
            self._limits.failed(host)
            raise


def client_host(request: HTTPConnection) -> str:
    """Return where a request comes from."""
    return request.client.host if request.client else ""


def _cookie(request: HTTPConnection) -> str:
    """Return the name of the cookie.

    Browsers send the cookies of one port of a host to all, so each has a name of its own.
    "__Host-" keeps other hosts of the domain from setting it, and works under TLS only.
    """
    _, port = request.scope.get("server") or ("", None)
    return f"{'__Host-' if _encrypted(request) else ''}evolvent-{port}"


def _encrypted(request: HTTPConnection) -> bool:
    return bool(request.scope["scheme"] == "https")

"""Who is asking: tokens and signed-in browsers looked up, hosts that fail too often held back."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TypeVar

from starlette.requests import HTTPConnection
from starlette.responses import Response

from evolvent.errors import Unauthenticated
from evolvent.service.settings import ServiceSettings
from evolvent.service.web.errors import HttpError
from evolvent.service.web.threads import StoreThreads
from evolvent.store.tokens import Token, Tokens, id_of

_MOST_KNOWN = _MOST_HOSTS = 10_000
_BURST = 10
_SECONDS_EACH = 6.0

_Found = TypeVar("_Found")


class RateLimiter:
    """Ten failures at once, then one every six seconds, for each host by itself.

    Whoever is not in the table may try, so that those forgotten for want of room (the ones quiet
    for longest) are never locked out by others.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._clear_at: OrderedDict[str, float] = OrderedDict()  # when all failures are forgiven

    def check(self, host: str) -> None:
        """Refuse a host that may not try now.

        Raises:
            Throttled: says after how many seconds it may.
        """
        clear_at = self._clear_at.get(_network(host), 0.0)
        wait_s = clear_at - self._clock() - (_BURST - 1) * _SECONDS_EACH
        if wait_s > 0:
            raise Throttled(math.ceil(wait_s))

    def failed(self, host: str) -> None:
        """Count a failure against a host."""
        network, now = _network(host), self._clock()
        # Popped and set again, so that the host goes to the end: those quiet longest are in front.
        clear_at = max(self._clear_at.pop(network, now), now)
        self._clear_at[network] = clear_at + _SECONDS_EACH
        if len(self._clear_at) > _MOST_HOSTS:
            self._clear_at.popitem(last=False)


class Throttled(HttpError, Unauthenticated):
    """Too many failures from this host; may try again as the header says."""

    def __init__(self, seconds: int) -> None:
        super().__init__(
            429,
            f"too many wrong tokens from this address: wait {seconds} s",
            field="Authorization",
            kind="Unauthenticated",
            headers={"Retry-After": str(seconds)},
        )


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._threads = threads
        self._lifetime_s = settings.signed_in_s
        self._token_failures = RateLimiter(clock)
        self._sign_in_failures = RateLimiter(clock)
        self._known_ids: OrderedDict[str, None] = OrderedDict()
        # For a token that was right when its request came: it counts no failure.
        self.recheck_token = tokens.authenticate

    async def authenticate(self, request: HTTPConnection, secret: str) -> Token:
        """Return the token that a program has sent.

        One that has been right before is looked up also when others at the same host (behind
        one router, say) have failed too often.

        Raises:
            Unauthenticated: it opens nothing.
            Throttled: nobody looked, there have been too many failures from there.
        """
        id = id_of(secret)
        # By its id, not its secret: nothing is kept that would open anything.
        if id not in self._known_ids:
            self._token_failures.check(client_host(request))
        try:
            token = await self._ask(self._tokens.authenticate, secret)
        except Unauthenticated:
            self._known_ids.pop(id, None)
            self._token_failures.failed(client_host(request))
            raise
        self._known_ids[id] = None
        if len(self._known_ids) > _MOST_KNOWN:
            self._known_ids.popitem(last=False)
        return token

    async def authenticate_session(self, request: HTTPConnection) -> tuple[Token, str] | None:
        """Return the token that a browser signed in with, and the secret that stands for it."""
        secret = request.cookies.get(_cookie(request))
        token = await self._ask(self._tokens.authenticate_session, secret) if secret else None
        return None if token is None or secret is None else (token, secret)

    def recheck_session(self, secret: str) -> None:
        """Look again for a browser that was signed in when its request came.

        Raises:
            Unauthenticated: it has signed out, or its token opens nothing any more.
        """
        if self._tokens.authenticate_session(secret) is None:
            raise Unauthenticated("this browser is signed in no longer: sign in again")

    async def sign_in(self, request: HTTPConnection, secret: str, response: Response) -> None:
        """Give a browser a cookie in exchange for a token.

        Raises:
            Unauthenticated: it opens nothing.
            Throttled: nobody looked, there have been too many failures from there.
        """
        host = client_host(request)
        self._sign_in_failures.check(host)
        try:
            token = await self._ask(self._tokens.authenticate, secret)
        except Unauthenticated:
            self._sign_in_failures.failed(host)
            raise
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

    async def _ask(self, look: Callable[[str], _Found], secret: str) -> _Found:
        # Every request comes through here: a change of threads would cost more than the look.
        if self._tokens.is_local:  # quicker than a change of threads
            return look(secret)
        return await self._threads.write(lambda: look(secret))  # where nobody reads long tables


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


def _network(host: str) -> str:
    """Return what counts as one host: of IPv6 the 64 bits that a customer is given."""
    try:
        parsed = ip_address(host)
    except ValueError:
        return host
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(ip_network((int(parsed) >> 64 << 64, 64)))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)

"""Wrong secrets cost next to nothing, and never keep out a right one.

A secret is 256 random bits: nobody will ever guess one, however often they may try. Wrong ones are
held back for the load and the noise that they make: each costs the store a look. Ten are looked up
for each address, then one every six seconds; and from everywhere together 200, then 20 a second.

Many people sit behind one router, proxy or cluster, and one of them may have a worker that sends a
token of last year all day. So an address with too many failures is not refused: for what it sends,
the store is not asked, but a set in memory of the hashes of all that opens something
(`ActiveHashes`). What is in there is looked up as ever, so that a token counts no longer than it
should. What is not may be new, made by another process a moment ago: the set is read again, once
for all who wait for it, and not so often that it takes more than a twentieth of the time. Only
then is it refused.

What this tells a stranger is what an answer tells anyway: whether a secret is right. The set holds
whole hashes, as the store does. With the ids (the first 48 bits) somebody who knows one could make
up a wrong secret with that id, by some 2^48 tries at home, and send it unthrottled. How long it
takes to find a hash in the set may depend on the hashes in there; it helps nobody, for whoever
wants a secret with a certain start of a hash has to try as many as that start has values.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

from evolvent.errors import Unauthenticated
from evolvent.service.web.errors import HttpError
from evolvent.store.tokens import hash_of

_MOST_HOSTS = 10_000
_BURST, _SECONDS_EACH = 10, 6.0
_BURST_OF_ALL, _SECONDS_OF_ALL = 200, 0.05
_LEAST_REST_S = 0.05
_REST = 20  # times as long as a reading took

Clock = Callable[[], float]


class Throttled(HttpError, Unauthenticated):
    """A secret that opens nothing, after too many such; the header says how long to wait."""

    def __init__(self, wait_s: float) -> None:
        seconds = math.ceil(wait_s)
        super().__init__(
            429,
            "this token is unknown, expired or revoked, and too many such tokens have come: wait "
            f"{seconds} s before you send another",
            field="Authorization",
            kind="Unauthenticated",
            headers={"Retry-After": str(seconds)},
        )


class FailureLimits:
    """How many wrong secrets are looked up: for each host by itself, and for all together.

    Whoever is not in the table may try, so that the hosts forgotten for want of room are those
    quiet for longest.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        # When all failures are forgiven: of a host, and of all.
        self._clear_at: OrderedDict[str, float] = OrderedDict()
        self._all_clear_at = 0.0

    def wait_s(self, host: str) -> float:
        """Return after how many seconds a wrong secret of this host may cost a look; 0: now."""
        clear_at = self._clear_at.get(_network(host), 0.0)
        own_s = clear_at - (_BURST - 1) * _SECONDS_EACH
        of_all_s = self._all_clear_at - (_BURST_OF_ALL - 1) * _SECONDS_OF_ALL
        return max(0.0, max(own_s, of_all_s) - self._clock())

    def failed(self, host: str) -> None:
        """Count a failure against a host."""
        network, now = _network(host), self._clock()
        # Popped and set again, so that the host goes to the end: those quiet longest are in front.
        clear_at = max(self._clear_at.pop(network, now), now)
        self._clear_at[network] = clear_at + _SECONDS_EACH
        if len(self._clear_at) > _MOST_HOSTS:
            self._clear_at.popitem(last=False)
        self._all_clear_at = max(self._all_clear_at, now) + _SECONDS_OF_ALL


class ActiveHashes:
    """The hashes of all secrets that open something, as they stood when they were last read.

    Args:
        read: asks the store for them.
        clock: tells seconds.
    """

    def __init__(self, read: Callable[[], Awaitable[frozenset[str]]], clock: Clock) -> None:
        self._read, self._clock = read, clock
        self._hashes: set[str] = set()
        self._rest_until = -math.inf
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None

    async def includes(self, secret: str) -> bool:
        """Whether a secret opened something at a moment after this was called, or is in the set.

        Raises:
            EvolventError: the store cannot be read.
        """
        hashed = hash_of(secret)
        if hashed not in self._hashes:
            if self._next is None:
                self._next = asyncio.create_task(self._read_again())
            # Shielded: one who leaves must not take it away from the others who wait for it.
            await asyncio.shield(self._next)
        return hashed in self._hashes

    def discard(self, secret: str) -> None:
        """Forget a secret that turned out to open nothing any more."""
        self._hashes.discard(hash_of(secret))

    async def _read_again(self) -> None:
        async with self._turn:
            await asyncio.sleep(max(0.0, self._rest_until - self._clock()))
            self._next = None  # whoever comes from now on may be too new for this reading
            began = self._clock()
            try:
                self._hashes = set(await self._read())
            finally:
                now = self._clock()
                self._rest_until = now + max(_LEAST_REST_S, _REST * (now - began))


@lru_cache(_MOST_HOSTS)
def _network(host: str) -> str:
    """Return what counts as one host: of IPv6 the 64 bits that a customer is given."""
    try:
        parsed = ip_address(host)
    except ValueError:
        return host
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(ip_network((int(parsed) >> 64 << 64, 64)))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)

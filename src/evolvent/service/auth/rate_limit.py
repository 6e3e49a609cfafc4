"""How often a host may fail before it has to wait: a bounded table of failures."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

_BURST = 10
_SECONDS_EACH = 6.0
_MOST_HOSTS = 10_000


class RateLimiter:
    """Ten failures at once, then one every six seconds, for each host by itself.

    Whoever is not in the table may try, so that those forgotten for want of room (the ones quiet
    for longest) are never locked out by others.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._clear_at: OrderedDict[str, float] = OrderedDict()  # when all failures are forgiven

    def wait_s(self, host: str) -> float:
        """Return after how many seconds this host may try; 0 for at once."""
        clear_at = self._clear_at.get(_network(host), 0.0)
        return max(0.0, clear_at - self._clock() - (_BURST - 1) * _SECONDS_EACH)

    def failed(self, host: str) -> None:
        """Count a failure against a host."""
        network, now = _network(host), self._clock()
        # Popped and set again, so that the host goes to the end: those quiet longest are in front.
        clear_at = max(self._clear_at.pop(network, now), now)
        self._clear_at[network] = clear_at + _SECONDS_EACH
        if len(self._clear_at) > _MOST_HOSTS:
            self._clear_at.popitem(last=False)


def _network(host: str) -> str:
    """Return what counts as one host: of IPv6 the 64 bits that a customer is given."""
    try:
        parsed = ip_address(host)
    except ValueError:
        return host
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(ip_network((int(parsed) >> 64 << 64, 64)))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)

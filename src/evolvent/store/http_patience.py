"""How long a client waits for a service that restarts or is busy."""

from __future__ import annotations

import logging
import random
import time
from threading import Event

from evolvent.errors import EvolventError
from evolvent.store.http_connection import GivenUp
from evolvent.store.http_errors import unavailable

_SHORTEST_S, _LONGEST_S = 0.05, 5.0

_logger = logging.getLogger("evolvent")


class Patience:
    """Waits between tries: longer each time, at random, so that not all come back at once.

    Args:
        url: of the service, for messages.
        for_s: how long to go on trying.
        unless: set by another thread to give up.
    """

    def __init__(self, url: str, for_s: float, unless: Event | None) -> None:
        self._url = url
        self._unless = Event() if unless is None else unless
        self._began = time.monotonic()
        self._until = self._began + for_s
        self._for_s = for_s
        self._most_s = _SHORTEST_S
        self._told = False

    @property
    def over(self) -> bool:
        """Whether it has been long enough."""
        return time.monotonic() >= self._until

    def check(self) -> None:
        """Raise GivenUp if nobody waits for an answer any more."""
        if self._unless.is_set():
            raise GivenUp

    def wait(
        self, error: Exception, *, wanted_s: float | None = None, hopeless: bool = False
    ) -> None:
        """Wait for the next try.

        Args:
            error: what went wrong with the last one; an `EvolventError` is the service's answer.
            wanted_s: how long the service wants us to wait.
            hopeless: trying again will not help.

        Raises:
            EvolventError: it has been long enough.
            GivenUp: nobody waits for an answer any more.
        """
        answered = isinstance(error, EvolventError)
        if hopeless or self.over:
            if answered:
                raise error
            raise unavailable(self._url, error, time.monotonic() - self._began) from error
        if not self._told:
            self._told = True
            how = "busy" if answered else "not there"
            _logger.warning("%s is %s (%s): trying for %.0f s", self._url, how, error, self._for_s)
        pause_s = random.uniform(0, self._most_s) if wanted_s is None else wanted_s
        self._most_s = min(2 * self._most_s, _LONGEST_S)
        self._unless.wait(min(pause_s, max(0.0, self._until - time.monotonic())))
        self.check()

    def rewarded(self) -> None:
        """Say that the wait is over, to whom it was announced."""
        if self._told:
            waited_s = time.monotonic() - self._began
            _logger.warning("%s answers again, after %.0f s", self._url, waited_s)

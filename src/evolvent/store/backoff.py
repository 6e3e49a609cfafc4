"""Pauses between tries that grow from one to the next, up to a limit and until an end."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable

_logger = logging.getLogger("evolvent")


class Backoff:
    """For one wait: says how long to pause before the next try, and whether to go on at all.

    It does not sleep itself: one who waits may have to be woken.

    Args:
        first_s: the first pause; each is twice the one before.
        longest_s: no pause is longer.
        for_s: all of it together.
        spread: share of a pause that is left to chance, so that not all come back in step.
        clock: tells seconds.
        draw: tells a number between 0 and 1.
    """

    def __init__(
        self,
        first_s: float,
        longest_s: float,
        *,
        for_s: float = math.inf,
        spread: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self.for_s, self._spread = for_s, spread
        self._clock, self._draw = clock, draw
        self._announced = False
        self.restart()

    def restart(self) -> None:
        """Begin again with the first pause: the last try was not in vain."""
        self._began, self._next_s = self._clock(), self._first_s

    @property
    def waited_s(self) -> float:
        """Seconds since it began."""
        return self._clock() - self._began

    @property
    def is_over(self) -> bool:
        """Whether it has been long enough."""
        return self.waited_s >= self.for_s

    def pause_s(self, wanted_s: float | None = None) -> float:
        """Return the seconds to pause before the next try, none beyond the end.

        Args:
            wanted_s: what somebody who knows better asks for.
        """
        drawn_s = self._next_s * (1 - self._spread * self._draw())
        self._next_s = min(2 * self._next_s, self._longest_s)
        pause_s = drawn_s if wanted_s is None else wanted_s
        return min(pause_s, max(0.0, self.for_s - self.waited_s))

    def announce(self, message: str, *values: object) -> None:
        """Log, the first time, what is being waited for."""
        if not self._announced:
            self._announced = True
            _logger.warning(message, *values)

    def succeed(self, who: str) -> None:
        """Log, if a wait was announced, that it is over."""
        if self._announced:
            _logger.warning("%s answers again, after %.0f s", who, self.waited_s)

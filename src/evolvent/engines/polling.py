"""How long to wait for a job, and how: asked again and again here, or held by the store."""

from __future__ import annotations

import time

from evolvent.store.backoff import Backoff

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.001, 0.05
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 60.0
_CHECK_EVERY_S = 0.01


class PollBackoff:
    """For one wait: longer from try to try, so that those who wait for long cost little.

    A store that can holds a claim until there is a job or its study is over: then nobody need
    look whether it is. Others answer at once, and are asked again after a pause.

    Attributes:
        wait_s: for how long the store may hold the next claim.
    """

    def __init__(self) -> None:
        self.wait_s = 0.0
        self._pauses = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        self._waits = Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)
        self._claimed_at = time.monotonic()
        self._checked_at = -_CHECK_EVERY_S

    def should_check_status(self) -> bool:
        """Whether to look, after a claim in vain, if the study is over."""
        now = time.monotonic()
        # A store that held the claim for all of its time has seen the study open until then.
        held = self.wait_s > 0 and now - self._claimed_at >= self.wait_s
        if held or now - self._checked_at < _CHECK_EVERY_S:
            return False
        self._checked_at = now
        return True

    def next_pause_s(self) -> float:
        """Return how many seconds to wait before the next claim."""
        pause_s, self.wait_s = self._pauses.pause_s(), self._waits.pause_s()
        self._claimed_at = time.monotonic() + pause_s
        return pause_s

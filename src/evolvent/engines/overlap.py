"""Whether to seal and report a job at once, or in the background while the next one trains."""

from __future__ import annotations

from statistics import median

_LONG_S = 0.005
_WAIT_S = 0.001
_LOOKS, _RESTS = 5, 100


class Overlap:
    """Learns from reports whether the next is worth a thread.

    What takes long is: a large checkpoint, a far store. What is quick is worth it where it mostly
    waits, for a disk that syncs; two threads that both work share one interpreter and would lose
    more than they hide. How long a report waits shows only when it is made at once, so a few of
    the quick ones are, every now and then.

    Args:
        allowed: False keeps everything in one thread.
    """

    def __init__(self, *, allowed: bool) -> None:
        self._allowed = allowed
        self._long = True
        self._waits: list[float] = []
        self._rests = 0

    @property
    def wanted(self) -> bool:
        """Whether the next report is to be made in the background."""
        return self._allowed and (self._long or self._rests > 0)

    def learn(self, took_s: float, *, waited_s: float | None) -> None:
        """Take in a report.

        Args:
            took_s: seconds from its begin to its end.
            waited_s: seconds of these in which it did not work; None if it was made in the
                background, where it also waits for the training.
        """
        self._long = took_s > _LONG_S
        if waited_s is None:
            self._rests = max(0, self._rests - 1)
            return
        self._waits.append(waited_s)
        if len(self._waits) == _LOOKS:
            self._rests = _RESTS if median(self._waits) > _WAIT_S else 0
            self._waits.clear()

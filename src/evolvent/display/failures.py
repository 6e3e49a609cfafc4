"""What fails while a run goes on: one line an attempt, wherever it was trained."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from evolvent.analysis.explain.tracebacks import failure_line
from evolvent.engines.observer import Observer
from evolvent.errors import StoreError
from evolvent.store.protocol import Store
from evolvent.store.records import FailedAttempt, FailureKind, MemberView, StudyStatus

_LOOK_EVERY_S = 1.0
_MOST = 50
"""So many lines at a time: where everything fails, the last ones say why as well as all would."""


class FailuresObserver(Observer):
    """An observer of a run that lets another one show which attempts fail, and why."""

    def __init__(
        self,
        inner: Observer,
        store: Store,
        study: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show the failures of a study that are noted from `start` on; `clock` counts seconds."""
        self._inner, self._store, self._study, self._clock = inner, store, study, clock
        self._last: FailedAttempt | None = None
        self._looked_at = clock()

    def start(self, status: StudyStatus) -> None:
        self._last = self._newest()
        self._inner.start(status)

    def update(self, status: StudyStatus, members: Callable[[], list[MemberView]]) -> None:
        if self._clock() >= self._looked_at + _LOOK_EVERY_S:
            self._try_to_show()
        self._inner.update(status, members)

    def line(self, text: str) -> None:
        self._inner.line(text)

    def finish(self, status: StudyStatus, summary: str) -> None:
        self._try_to_show()
        self._inner.finish(status, summary)

    def close(self) -> None:
        self._inner.close()

    def _newest(self) -> FailedAttempt | None:
        return next(iter(self._store.failures(self._study, limit=1)), None)

    def _try_to_show(self) -> None:
        with suppress(StoreError):  # it is away for a moment: the next look shows what has failed
            self._show()

    def _show(self) -> None:
        # Mostly there is nothing new, and each has its whole traceback.
        is_new = self._newest() != self._last
        newest = self._store.failures(self._study, limit=_MOST) if is_new else []
        self._looked_at = self._clock()
        seen = newest.index(self._last) + 1 if self._last in newest else 0
        if newest:
            self._last = newest[-1]
        if seen == 0 and len(newest) == _MOST:
            self._inner.line(f"attempts fail faster than they can be shown; the last {_MOST}:")
        for failed in newest[seen:]:
            # What was handed back unharmed is no failure: whoever did that says why.
            if failed.failure.kind is not FailureKind.RETURNED:
                self._inner.line(attempt_line(failed))


def attempt_line(failed: FailedAttempt) -> str:
    """Return which attempt failed, why and where, in one line."""
    word = "lost its worker" if failed.failure.kind is FailureKind.LOST else "failed"
    again = f" at attempt {failed.attempt}" if failed.attempt > 1 else ""
    return f"{failed.job} {word}{again}: {failure_line(failed.failure)}"

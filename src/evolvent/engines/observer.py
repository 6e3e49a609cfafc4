"""What those who watch a run get from its engine."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from evolvent.errors import StoreError
from evolvent.store.records import MemberView, StudyStatus
from evolvent.validation import cut, invalid

_METHODS = ("start", "update", "line", "finish", "close")


class Observer(Protocol):
    """Sees a run from its start to its end; called in one thread, several times a second."""

    def start(self, status: StudyStatus) -> None:  # noqa: ARG002 - silence
        return

    def update(self, status: StudyStatus, members: Callable[[], list[MemberView]]) -> None:  # noqa: ARG002 - silence
        """Show the status; `members` is only called when they are shown."""
        return

    def line(self, text: str) -> None:  # noqa: ARG002 - silence
        """Show a line: what a worker printed, what happened to one, what a run warns of."""
        return

    def finish(self, status: StudyStatus, summary: str) -> None:  # noqa: ARG002 - silence
        return

    def close(self) -> None:
        """Let go of the terminal: called at the end, also when the run ends by an error."""
        return


class NullObserver(Observer):
    """Watches nothing."""


class LineObserver(NullObserver):
    """Shows nothing but lines: what workers print is seen as what this process prints is."""

    def line(self, text: str) -> None:
        if sys.stdout is not None:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()


class _GuardedObserver(Observer):
    """Passes all on to an observer for as long as that works: no observer ends training.

    Once it has raised it is closed and asked nothing more, which standard error is told. Only what
    the store has raised, which it reads, is no fault of its own: it is asked again the next time.
    """

    def __init__(self, inner: Observer) -> None:
        self._inner = inner
        self._store_is_away = False

    def start(self, status: StudyStatus) -> None:
        self._call("start", status)

    def update(self, status: StudyStatus, members: Callable[[], list[MemberView]]) -> None:
        self._call("update", status, members)

    def line(self, text: str) -> None:
        self._call("line", text)

    def finish(self, status: StudyStatus, summary: str) -> None:
        self._call("finish", status, summary)

    def close(self) -> None:
        self._call("close")

    def _call(self, method: str, *values: Any) -> None:
        inner = self._inner
        try:
            getattr(inner, method)(*values)
            self._store_is_away = False
        except StoreError as e:
            if not self._store_is_away:  # told once, not several times a second
                tell_stderr(f"{_described(inner, e)}: nothing is shown until that is over")
            self._store_is_away = True
        except Exception as e:  # noqa: BLE001 - whatever it does, training goes on
            self._switch_off(inner, e)
        except SystemExit as e:
            # So rich says that the pipe was closed, in an observer of the user's that prints by it.
            if not isinstance(e.__context__, BrokenPipeError):
                raise
            self._switch_off(inner, e.__context__.with_traceback(e.__traceback__))

    def _switch_off(self, inner: Observer, error: BaseException) -> None:
        self._inner = NullObserver()
        with suppress(Exception, SystemExit):  # it may have put itself in the place of stderr
            inner.close()
        tell_stderr(f"{_described(inner, error)}: it is switched off; training goes on")


def guarded(observer: Observer) -> Observer:
    """Return an observer that passes all on to this one and never raises.

    Raises:
        ConfigError: it lacks a method.
    """
    if any(not callable(getattr(observer, method, None)) for method in _METHODS):
        raise invalid(
            "progress",
            f"got {cut(observer)}, wanted True, False, or an observer with the methods "
            f"{', '.join(_METHODS)}",
        )
    return _GuardedObserver(observer)


def tell_stderr(message: str) -> None:
    """Write a line to standard error, if that can be written."""
    with suppress(Exception):  # closed, none at all, or on the same full disk
        sys.stderr.write(f"evolvent: {message}\n")
        sys.stderr.flush()


def _described(observer: Observer, error: BaseException) -> str:
    what = " ".join(traceback.format_exception_only(error)[-1].split())
    if type(observer).__module__.startswith("evolvent."):
        return f"the display of this run: {what}"
    last = traceback.extract_tb(error.__traceback__)[-1]  # a line of the user's, or near one
    return f"progress: {type(observer).__name__}: {what} ({last.filename}:{last.lineno})"

"""Signals: those that ask a run to end, and what it means that a process was ended by one."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_REPEATED_S = {signal.SIGINT: 0.03, signal.SIGTERM: 1.0}
"""The signals that ask for an end, and within how many seconds one more of them is the same one:
what signals all processes of a job (a terminal, `timeout`, a queue) often has a launcher among
them that passes on what all have got already."""

_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
_LOOK_S = 0.05  # how often who waits looks


class Drain(threading.Event):
    """An event that a handler of signals may set.

    An `Event` would wait for ever for its own lock, if the signal came while the main thread is
    about to wait for it: so this one has none, and who waits looks again and again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._asked = False

    def is_set(self) -> bool:
        return self._asked

    def set(self) -> None:
        self._asked = True

    def wait(self, timeout: float | None = None) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        while not self._asked:
            left = _LOOK_S if until is None else until - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(left, _LOOK_S))
        return self._asked


class Grace:
    """The time that a signal leaves to the main thread; then it is interrupted as by another one.

    What runs there in code of another language is interrupted when that comes back to Python.
    """

    def __init__(self, seconds: float | None) -> None:
        """Args: seconds: as long; None: for ever."""
        self._timer = None if seconds is None else threading.Timer(seconds, self._end)
        self.is_over = False

    def begin(self) -> None:
        """Let it begin; once."""
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()

    def __enter__(self) -> Grace:
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None and self._timer.is_alive():
            self._timer.cancel()
            self._timer.join()  # or it would interrupt what comes later

    def _end(self) -> None:
        self.is_over = True
        # To that thread, which may sleep: to the process, any might take it.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


class _Handler:
    """Ours for one signal, and the one that was there before."""

    def __init__(self, number: signal.Signals, handle: Callable[[], None]) -> None:
        self._number, self._handle = number, handle
        self._handled_at = -math.inf
        self._before: Any = signal.signal(number, self)

    def __call__(self, *_: object) -> None:
        now = time.monotonic()
        if now - self._handled_at >= _REPEATED_S[self._number]:
            self._handled_at = now
            self._handle()

    def remove(self) -> None:
        if self._before is not None:  # it was none of Python's
            signal.signal(self._number, self._before)

    def remove_in_child(self) -> None:
        # What training code has put in its place meanwhile is what its children are to have.
        current: Any = signal.getsignal(self._number)
        if current is self:
            signal.signal(self._number, self._before or signal.SIG_DFL)


_handlers: list[_Handler] = []  # in place, the newest last
_forking = threading.local()


def catch_interrupts(handle: Callable[[], None]) -> list[_Handler]:
    """Call `handle` for SIGINT and SIGTERM from now on; for the main thread only.

    Programs that this one starts, and processes that are forked from it, do not inherit that.
    """
    ours = [_Handler(number, handle) for number in _REPEATED_S]
    _handlers.extend(ours)
    return ours


@contextmanager
def handle_interrupts(handle: Callable[[], None]) -> Iterator[None]:
    """Call `handle` for SIGINT and SIGTERM; outside the main thread signals stay as they are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    ours = catch_interrupts(handle)
    try:
        yield
    finally:
        for handler in reversed(ours):
            handler.remove()
            with contextlib.suppress(ValueError):  # in a forked child there are none any more
                _handlers.remove(handler)


def hold_interrupts(numbers: Iterable[int] = tuple(_REPEATED_S)) -> set[int]:
    """Let SIGINT and SIGTERM wait, here and in what is started meanwhile; return what did before.

    Both have to call `release_interrupts`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    except BaseException:  # of a handler that was called just now
        release_interrupts(before)
        raise
    return before


def release_interrupts(before: Iterable[int] = ()) -> None:
    """Let SIGINT and SIGTERM through, but for those that were held before."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, set(_REPEATED_S).difference(before))


# A SIGTERM to a child that is just being forked would be taken by our handler there, and be lost,
# and who sent it, such as the end of a pool, would wait for ever. So it waits until the child has
# what it is to have. Not so a SIGINT: what its handler raises would be lost here, too.
def _before_fork() -> None:
    _forking.held_before = None
    if _handlers:
        _forking.held_before = hold_interrupts({signal.SIGTERM})


def _after_fork() -> None:
    if _forking.held_before is not None:
        release_interrupts(_forking.held_before)


def _after_fork_in_child() -> None:
    while _handlers:
        _handlers.pop().remove_in_child()
    _after_fork()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
)


def killed_from_outside(code: int) -> bool:
    """Whether an exit code, negative for a signal, says that not the process itself ended it."""
    return code < 0 and -code not in _CRASHES


def asked_to_end(code: int) -> bool:
    """Whether an exit code says that a process has ended because SIGINT or SIGTERM asked it to."""
    # 128 and the number: a shell says so of what it ran, and programs that first clean up.
    return -code in _REPEATED_S or code - 128 in _REPEATED_S


def signal_name(number: int) -> str:
    """Return the name of a signal that has ended a process, for messages."""
    try:
        name = signal.Signals(number).name
    except ValueError:  # one of the real-time signals
        return f"signal {number}"
    # The kernel says SIGKILL when memory is out, and nothing tells that from a hand.
    return f"{name} (out of memory, or by hand)" if number == signal.SIGKILL else name

"""Signals: those that ask a run to end, and what it means that a process was ended by one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)


@contextmanager
def handle_interrupts(handle: Callable[[], None]) -> Iterator[None]:
    """Call `handle` for SIGINT and SIGTERM; outside the main thread signals stay as they are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    before = {
        number: signal.signal(number, lambda *_: handle())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # it was none of Python's
                signal.signal(number, handler)


def killed_from_outside(code: int) -> bool:
    """Whether an exit code, negative for a signal, says that not the process itself ended it."""
    return code < 0 and -code not in _CRASHES


def signal_name(number: int) -> str:
    """Return the name of a signal that has ended a process, for messages."""
    try:
        name = signal.Signals(number).name
    except ValueError:  # one of the real-time signals
        return f"signal {number}"
    # The kernel says SIGKILL when memory is out, and nothing tells that from a hand.
    return f"{name} (out of memory, or by hand)" if number == signal.SIGKILL else name

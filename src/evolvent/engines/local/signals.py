"""Ctrl-C and SIGTERM for the time of a run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def handle_interrupts(handle: Callable[[], None]) -> Iterator[None]:
    """Call `handle` for SIGINT and SIGTERM; outside the main thread signals stay as they are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(*_: object) -> None:
        handle()

    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # it was none of Python's
                signal.signal(number, handler)

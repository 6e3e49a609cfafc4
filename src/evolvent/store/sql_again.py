"""Doing it again when the database went away or undid a transaction: restarts pass unnoticed."""

from __future__ import annotations

import functools
import logging
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from evolvent.store.sql_database import Interrupted

PATIENCE_S = 60.0
"""For so long a store that was open before waits for its database to come back."""

_FIRST_S, _LAST_S = 0.05, 2.0
_P = ParamSpec("_P")
_R = TypeVar("_R")

_logger = logging.getLogger("evolvent")


def again(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let a method of which a second time changes nothing be repeated until it gets an answer."""
    return _repeated(method, unsure_too=True)


def again_if_undone(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let a method be repeated unless it may have been done: a second time would count twice."""
    return _repeated(method, unsure_too=False)


def _repeated(method: Callable[_P, _R], *, unsure_too: bool) -> Callable[_P, _R]:
    @functools.wraps(method)
    def patient(*args: _P.args, **options: _P.kwargs) -> _R:
        try:
            return method(*args, **options)
        except Interrupted as e:
            last = e
        until, pause = time.monotonic() + PATIENCE_S, _FIRST_S
        _logger.info("trying again for %.0f s: %s", PATIENCE_S, last)
        while time.monotonic() < until and (unsure_too or not last.unsure):
            time.sleep(pause * random.uniform(0.5, 1.0))  # not all processes in step
            pause = min(2 * pause, _LAST_S)
            try:
                return method(*args, **options)
            except Interrupted as e:
                last = e
        raise last

    return patient

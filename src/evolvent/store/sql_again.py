"""Doing it again when the database went away or undid a transaction: restarts pass unnoticed."""

from __future__ import annotations

import functools
import logging
import random
import time
import uuid
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from evolvent.store.sql_database import Interrupted

PATIENCE_S = 60.0
"""For so long a store that was open before waits for its database to come back."""

_FIRST_S, _LAST_S = 0.05, 2.0

_logger = logging.getLogger("evolvent")


class NewKey(str):
    """The key of a call that is made for the first time: nothing can have been answered yet."""

    __slots__ = ()


class Distant(Protocol):
    """A store that knows whether answers of its database can get lost."""

    @property
    def distant(self) -> bool: ...


_P = ParamSpec("_P")
_R = TypeVar("_R")
_S = TypeVar("_S", bound=Distant)


def again(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let a method of which a second time changes nothing be repeated until it gets an answer."""

    @functools.wraps(method)
    def patient(*args: _P.args, **options: _P.kwargs) -> _R:
        try:
            return method(*args, **options)
        except Interrupted as e:
            return _repeated(lambda: method(*args, **options), e, unsure_too=True)

    return patient


def again_if_undone(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let a method be repeated unless it may have been done: a second time would count twice."""

    @functools.wraps(method)
    def patient(*args: _P.args, **options: _P.kwargs) -> _R:
        try:
            return method(*args, **options)
        except Interrupted as e:
            return _repeated(lambda: method(*args, **options), e, unsure_too=False)

    return patient


def again_by_key(
    method: Callable[Concatenate[_S, _P], _R],
) -> Callable[Concatenate[_S, _P], _R]:
    """Let a method that knows keys be repeated: by its key it is answered as the first time."""

    @functools.wraps(method)
    def patient(store: _S, /, *args: _P.args, **options: _P.kwargs) -> _R:
        key = options.get("key")
        if key is None and store.distant:
            options["key"] = NewKey(uuid.uuid4().hex)
        try:
            return method(store, *args, **options)
        except Interrupted as e:
            if options.get("key") is not None:
                options["key"] = str(options["key"])
            return _repeated(lambda: method(store, *args, **options), e, unsure_too=True)

    return patient


def _repeated(call: Callable[[], _R], first: Interrupted, *, unsure_too: bool) -> _R:
    last, told = first, False
    began, pause = time.monotonic(), _FIRST_S
    while time.monotonic() - began < PATIENCE_S and (unsure_too or not last.unsure):
        time.sleep(pause * random.uniform(0.5, 1.0))  # not all processes in step
        pause = min(2 * pause, _LAST_S)
        try:
            answer = call()
        except Interrupted as e:
            last = e
            if not told:  # not the first time: most of it passes at once
                told = True
                _logger.warning("%s: trying again for %.0f s", last, PATIENCE_S)
            continue
        if told:
            _logger.warning("the database answers again, after %.0f s", time.monotonic() - began)
        return answer
    raise last

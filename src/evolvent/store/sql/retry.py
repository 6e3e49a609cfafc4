"""Doing it again when the database went away or undid a transaction: restarts pass unnoticed."""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from evolvent.store.backoff import Backoff
from evolvent.store.sql.database import ConnectionLost

RETRY_FOR_S = 60.0
"""For so long a store that was open before waits for its database to come back."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
_P = ParamSpec("_P")
_R = TypeVar("_R")


class FreshKey(str):
    """The key of a call that is made for the first time: nothing can have been answered yet."""

    __slots__ = ()


class Remote(Protocol):
    """A store that knows whether answers of its database can get lost."""

    @property
    def is_remote(self) -> bool: ...


_S = TypeVar("_S", bound=Remote)


def retry(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let a method of which a second time changes nothing be repeated until it gets an answer."""

    @functools.wraps(method)
    def wrapper(*args: _P.args, **options: _P.kwargs) -> _R:
        try:
            return method(*args, **options)
        except ConnectionLost as e:
            return _retry_call(functools.partial(method, *args, **options), e)

    return wrapper


def retry_idempotent(
    method: Callable[Concatenate[_S, _P], _R],
) -> Callable[Concatenate[_S, _P], _R]:
    """Let a method that knows keys be repeated: by its key it is answered as the first time."""

    @functools.wraps(method)
    def wrapper(store: _S, /, *args: _P.args, **options: _P.kwargs) -> _R:
        key = options.get("key")
        # Without a key a call whose answer was lost could not be repeated: it would count twice.
        if key is None and store.is_remote:
            options["key"] = FreshKey(uuid.uuid4().hex)
        try:
            return method(store, *args, **options)
        except ConnectionLost as e:
            # No longer fresh: the first try may have been committed, so its answer is looked up.
            if options.get("key") is not None:
                options["key"] = str(options["key"])
            return _retry_call(lambda: method(store, *args, **options), e)

    return wrapper


def _retry_call(call: Callable[[], _R], first: ConnectionLost) -> _R:
    # By time and not by count: a restart of the server takes as long as it takes.
    last, backoff = first, Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, for_s=RETRY_FOR_S, spread=0.5)
    while not backoff.is_over:
        time.sleep(backoff.pause_s())
        try:
            answer = call()
        except ConnectionLost as e:
            last = e  # not announced the first time: most of it passes at once
            backoff.announce("%s: trying again for %.0f s", last, RETRY_FOR_S)
            continue
        backoff.succeed("the database")
        return answer
    raise last

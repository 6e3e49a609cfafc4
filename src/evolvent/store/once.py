"""Calls that are made again because an answer was lost: done once, answered as the first time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from evolvent.errors import ConfigError

KEPT_S = 3600.0
"""For so long a store knows the keys of calls; whoever has lost an answer asks again sooner."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Answers:
    """What a memory store has answered, by key; kept as long as the store."""

    known: dict[str, tuple[str, Any]] = field(default_factory=dict)

    def once(self, key: str | None, call: str, change: Callable[[], _Answer]) -> _Answer:
        """Return what `change` returns, or what it did the first time that `key` was given.

        Args:
            key: names the call; None calls without a name.
            call: what is called, such as `"push"`.
            change: does it.

        Raises:
            ConfigError: the key was that of another call.
        """
        if key is None:
            return change()
        if key not in self.known:
            self.known[key] = call, change()
        first, answer = self.known[key]
        check_same(key, first, call)
        return answer  # type: ignore[no-any-return]  # of the same call

    def copy(self) -> Answers:
        return replace(self, known=dict(self.known))


def check_same(key: str, first: str, call: str) -> None:
    """Refuse a key that another call had.

    Raises:
        ConfigError: says which.
    """
    if first != call:
        raise ConfigError(f"key: got {key!r:.80} for {call}, which {first} had: wanted a new one")

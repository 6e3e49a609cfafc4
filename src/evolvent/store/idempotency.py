"""Calls that are made again because an answer was lost: done once, answered as the first time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from hashlib import sha256

from evolvent.core.study import StudyRecord
from evolvent.validation import invalid

KEPT_S = 3600.0
"""For so long a store knows the keys of calls; whoever has lost an answer asks again sooner."""


class RequestFingerprint:
    """What is called, and with what: it is the same call only if all of it is the same.

    Args:
        name: such as `"push"`.
        arguments: records, and what JSON can hold.
    """

    __slots__ = ("_arguments", "_name")

    def __init__(self, name: str, *arguments: object) -> None:
        self._name = name
        self._arguments = arguments

    def __str__(self) -> str:
        """Return the name and a hash; the order in which a mapping has its keys is nothing."""
        text = json.dumps(self._arguments, sort_keys=True, default=_plain)
        return f"{self._name} {sha256(text.encode()).hexdigest()[:32]}"


def check_same(key: str, first: str, call: str) -> None:
    """Refuse a key that another call had.

    Raises:
        ConfigError: says which.
    """
    if first != call:
        had, name = first.partition(" ")[0], call.partition(" ")[0]
        had = f"a {name} of something else" if had == name else had
        raise invalid("key", f"got {key!r:.80} for {name}, which {had} had: wanted a new one")


def _plain(value: object) -> object:
    """Return what stands in JSON for a value that it cannot hold."""
    if isinstance(value, StudyRecord):
        return value.to_json()
    if is_dataclass(value):
        return [getattr(value, part.name) for part in fields(value)]
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Sequence) else repr(value)

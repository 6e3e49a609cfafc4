"""Calls that are made again because an answer was lost: done once, answered as the first time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from hashlib import sha256
from typing import Any, TypeVar

from evolvent.core.study import StudyRecord
from evolvent.store.sql.database import Transaction
from evolvent.store.sql.rows import decode, encode
from evolvent.validation import cut, invalid

KEPT_S = 3600.0
"""For so long a store knows the keys of calls; whoever has lost an answer asks again sooner."""
_INSERT_KEY = """
INSERT INTO answer (id, call, told, at) VALUES (:key, :call, 'null', :now)
ON CONFLICT (id) DO NOTHING
"""
_SELECT_ANSWER = "SELECT call, told FROM answer WHERE id = :key"
_UPDATE_ANSWER = "UPDATE answer SET told = :told WHERE id = :key"
_DELETE_OLD = "DELETE FROM answer WHERE at < :before"
_Answer = TypeVar("_Answer", int, str)


def fingerprint(name: str, *arguments: object) -> str:
    """Return the name and a hash: it is the same call only if all of it is the same.

    The arguments are records, and what JSON can hold; the order of a mapping's keys is nothing.
    """
    text = json.dumps(arguments, sort_keys=True, default=_plain)
    return f"{name} {sha256(text.encode()).hexdigest()[:32]}"


def run_idempotent(
    tx: Transaction, key: str | None, call: str, change: Callable[[], _Answer]
) -> _Answer:
    """Return what `change` returns, or what it did the first time that `key` was given.

    The key is taken first: who comes with it meanwhile waits for the end of this transaction, in
    which `change` writes. None calls without a name; `call` is the `fingerprint`.

    Raises:
        ConfigError: the key was that of another call.
    """
    if key is None:
        return change()
    values = {"key": key, "call": call, "now": tx.now()}
    # On PostgreSQL the insert waits for the end of another transaction that has inserted this key.
    while tx.execute(_INSERT_KEY, values).rowcount != 1:
        before: _Answer | None = find_answer(tx, key, call)
        if before is not None:  # else it has been forgotten in between
            return before
    answer = change()
    tx.execute(_UPDATE_ANSWER, {"key": key, "told": encode(answer)})
    tx.execute(_DELETE_OLD, {"before": tx.now() - KEPT_S})
    return answer


def find_answer(tx: Transaction, key: str, call: str) -> Any:
    """Return what a call of this key was answered; None if there was none.

    Raises:
        ConfigError: the key was that of another call.
    """
    row = tx.execute(_SELECT_ANSWER, {"key": key}).fetchone()
    if row is None:
        return None
    check_same(key, row[0], call)
    return decode(row[1])


def check_same(key: str, first: str, call: str) -> None:
    """Refuse a key that another call had, and say which."""
    if first != call:
        had, name = first.partition(" ")[0], call.partition(" ")[0]
        had = f"a {name} of something else" if had == name else had
        raise invalid("key", f"got {cut(key)} for {name}, which {had} had: wanted a new one")


def _plain(value: object) -> object:
    """Return what stands in JSON for a value that it cannot hold."""
    if isinstance(value, StudyRecord):
        return value.to_json()
    if is_dataclass(value):
        return [getattr(value, part.name) for part in fields(value)]
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Sequence) else repr(value)

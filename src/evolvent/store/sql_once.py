"""Calls with a key in the SQL store: what was answered is written with what was done."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from evolvent.store.once import KEPT_S, check_same
from evolvent.store.sql_database import Transaction
from evolvent.store.sql_rows import decode, encode

_KNOWN = "SELECT call, told FROM answer WHERE id = :key"
_KEEP = "INSERT INTO answer (id, call, told, at) VALUES (:key, :call, :told, :now)"
_FORGET = "DELETE FROM answer WHERE at < :before"

_Answer = TypeVar("_Answer", bound=int | str | None)


def once(tx: Transaction, key: str | None, call: str, change: Callable[[], _Answer]) -> _Answer:
    """Return what `change` returns, or what it did the first time that `key` was given.

    Args:
        tx: the transaction in which `change` writes.
        key: names the call; None calls without a name.
        call: what is called and on what, such as `"push 3"`.
        change: does it.

    Raises:
        ConfigError: the key was that of another call.
    """
    if key is None:
        return change()
    known = tx.execute(_KNOWN, {"key": key}).fetchone()
    if known is not None:
        check_same(key, known[0], call)
        before: _Answer = decode(known[1])
        return before
    told = change()
    now = tx.now()
    tx.execute(_KEEP, {"key": key, "call": call, "told": encode(told), "now": now})
    tx.execute(_FORGET, {"before": now - KEPT_S})
    return told


def answered(tx: Transaction, key: str, call: str) -> int | None:
    """Return what a call of this key was answered with a number, if it was.

    Raises:
        ConfigError: the key was that of another call.
    """
    known = tx.execute(_KNOWN, {"key": key}).fetchone()
    if known is None:
        return None
    check_same(key, known[0], call)
    return int(decode(known[1]))

"""Calls with a key in the SQL store: what was answered is written with what was done."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from evolvent.store.once import KEPT_S, Call, check_same
from evolvent.store.sql_database import Transaction
from evolvent.store.sql_rows import decode, encode

_TAKE = """
INSERT INTO answer (id, call, told, at) VALUES (:key, :call, 'null', :now)
ON CONFLICT (id) DO NOTHING
"""
_KNOWN = "SELECT call, told FROM answer WHERE id = :key"
_TELL = "UPDATE answer SET told = :told WHERE id = :key"
_FORGET = "DELETE FROM answer WHERE at < :before"

_Answer = TypeVar("_Answer", bound=int | str | None)


def once(tx: Transaction, key: str | None, call: Call, change: Callable[[], _Answer]) -> _Answer:
    """Return what `change` returns, or what it did the first time that `key` was given.

    The key is taken first: who comes with it meanwhile waits for the end of this transaction.

    Args:
        tx: the transaction in which `change` writes.
        key: names the call; None calls without a name.
        call: what is called.
        change: does it.

    Raises:
        ConfigError: the key was that of another call.
    """
    if key is None:
        return change()
    values = {"key": key, "call": str(call), "now": tx.now()}
    while tx.execute(_TAKE, values).rowcount != 1:
        known = tx.execute(_KNOWN, {"key": key}).fetchone()
        if known is not None:  # else it has been forgotten in between
            check_same(key, known[0], str(call))
            before: _Answer = decode(known[1])
            return before
    told = change()
    if told is not None:
        tx.execute(_TELL, {"key": key, "told": encode(told)})
    tx.execute(_FORGET, {"before": tx.now() - KEPT_S})
    return told


def answered(tx: Transaction, key: str, call: Call) -> int | None:
    """Return what a call of this key was answered with a number, if it was.

    Raises:
        ConfigError: the key was that of another call.
    """
    known = tx.execute(_KNOWN, {"key": key}).fetchone()
    if known is None:
        return None
    check_same(key, known[0], str(call))
    return int(decode(known[1]))

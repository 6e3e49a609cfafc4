"""Keys of calls: what is the same call, and for how long it is known."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from evolvent.errors import ConfigError
from evolvent.store.memory import MemoryDatabase
from evolvent.store.records import Point, Report
from evolvent.store.sql.idempotency import KEPT_S, fingerprint, run_idempotent


def test_the_same_values_are_the_same_call() -> None:
    def call() -> str:
        done = Report(0.5, {"a": math.nan}, "c", [Point(1, {"b": 1.0})])
        return fingerprint("push", 1, {"x": None, "y": "\ud800"}, done)

    assert call() == call()
    assert fingerprint("push", {"a": 1, "b": 2}) == fingerprint("push", {"b": 2, "a": 1})


class Answers:
    """Calls with a key, on a clock that the test moves."""

    def __init__(self) -> None:
        self.at = 100.0
        self._database = MemoryDatabase()

    def run(self, key: str, call: str, answer: int) -> int:
        with self._database.write(synced=False) as tx:
            clocked = SimpleNamespace(execute=tx.execute, now=lambda: self.at)
            return run_idempotent(clocked, key, call, lambda: answer)

    def known(self) -> int:
        with self._database.read() as tx:
            found: int = tx.execute("SELECT count(*) FROM answer").fetchone()[0]
        return found


def test_an_answer_is_forgotten_after_a_while() -> None:
    answers, call = Answers(), fingerprint("push", 1)
    assert answers.run("k", call, 1) == 1
    answers.at += KEPT_S
    assert answers.run("another", call, 2) == 2
    assert answers.run("k", call, 3) == 1
    answers.at += KEPT_S + 1.0
    assert answers.run("other", call, 4) == 4
    assert answers.known() == 1
    assert answers.run("k", call, 5) == 5


def test_a_key_that_another_call_had_says_which() -> None:
    answers = Answers()
    answers.run("k", fingerprint("push", 1), 1)
    with pytest.raises(
        ConfigError, match=r"^key: got 'k' for create, which push had: wanted a new"
    ):
        answers.run("k", fingerprint("create", 1), 2)
    with pytest.raises(ConfigError, match="for push, which a push of something else had"):
        answers.run("k", fingerprint("push", 2), 2)

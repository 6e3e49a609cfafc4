"""Keys of calls: what is the same call, and for how long it is known."""

from __future__ import annotations

import math

import pytest

from evolvent.core.records import JobRecord, JobState
from evolvent.errors import ConfigError
from evolvent.store.idempotency import KEPT_S, IdempotencyCache, RequestFingerprint
from evolvent.store.records import Lease, Point, Report


def lease(*, attempt: int = 1, worker: str = "w0", reason: str = "") -> Lease:
    job = JobRecord(0, 2, JobState.RUNNING, {"lr": 0.5}, attempt=attempt, reason=reason)
    return Lease(1, job, worker)


def test_the_same_values_are_the_same_call() -> None:
    def call() -> str:
        done = Report(0.5, {"a": math.nan}, "c", [Point(1, {"b": 1.0})])
        return str(RequestFingerprint("push", 1, {"x": None, "y": "\ud800"}, done))

    assert call() == call()
    assert str(RequestFingerprint("push", {"a": 1, "b": 2})) == str(
        RequestFingerprint("push", {"b": 2, "a": 1})
    )


def test_of_a_lease_its_fence_counts() -> None:
    """A client may know no more of it."""
    known = str(RequestFingerprint("fail", lease()))
    assert str(RequestFingerprint("fail", lease(reason="copied"))) == known
    assert str(RequestFingerprint("fail", lease(attempt=2))) != known
    assert str(RequestFingerprint("fail", lease(worker="w1"))) != known


def test_an_answer_is_forgotten_after_a_while() -> None:
    at = [100.0]
    answers, call = IdempotencyCache(clock=lambda: at[0]), RequestFingerprint("push", 1)
    assert answers.run("k", call, lambda: 1) == 1
    at[0] += KEPT_S
    assert answers.run("k", call, lambda: 2) == 1
    at[0] += 1.0
    assert answers.run("other", call, lambda: 3) == 3
    assert answers.before("k", call) is None
    assert len(answers) == 1


def test_a_key_that_another_call_had_says_which() -> None:
    answers = IdempotencyCache()
    answers.run("k", RequestFingerprint("push", 1), lambda: 1)
    with pytest.raises(ConfigError, match=r"^key: got 'k' for fail, which push had: wanted a new"):
        answers.run("k", RequestFingerprint("fail", 1), lambda: 2)
    with pytest.raises(ConfigError, match="for push, which a push of something else had"):
        answers.run("k", RequestFingerprint("push", 2), lambda: 2)

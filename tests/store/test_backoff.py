"""Pauses between tries: longer each time, not in step, and never beyond the end."""

from __future__ import annotations

import logging

import pytest

from evolvent.store.backoff import Backoff


class Clock:
    """Tells the time that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 3.0)
    assert [backoff.pause_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert not backoff.is_over


def test_share_of_a_pause_is_left_to_chance() -> None:
    draws = iter([0.0, 0.5, 1.0])
    backoff = Backoff(1.0, 1.0, spread=0.5, draw=lambda: next(draws))
    assert [backoff.pause_s() for _ in range(3)] == [1.0, 0.75, 0.5]


def test_no_pause_goes_beyond_the_end(clock: Clock) -> None:
    backoff = Backoff(4.0, 60.0, for_s=10.0, clock=clock)
    assert backoff.pause_s() == 4.0
    clock.now += 4.0
    assert (backoff.waited_s, backoff.is_over) == (4.0, False)
    assert backoff.pause_s() == 6.0
    clock.now += 6.0
    assert backoff.is_over
    assert backoff.pause_s() == 0.0


def test_pause_that_somebody_asks_for_is_taken_as_it_is(clock: Clock) -> None:
    backoff = Backoff(1.0, 60.0, for_s=10.0, spread=1.0, clock=clock)
    assert [backoff.pause_s(7.0), backoff.pause_s(700.0)] == [7.0, 10.0]


def test_try_that_was_not_in_vain_begins_anew(clock: Clock) -> None:
    backoff = Backoff(1.0, 60.0, for_s=10.0, clock=clock)
    backoff.pause_s()
    clock.now += 10.0
    assert backoff.is_over
    backoff.restart()
    assert not backoff.is_over
    assert backoff.pause_s() == 1.0


def test_wait_is_announced_once_and_its_end_too(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "evolvent")
    quiet, loud = Backoff(1.0, 1.0, clock=clock), Backoff(1.0, 1.0, clock=clock)
    for n in range(3):
        loud.announce("the database is away (%d)", n)
    clock.now += 7.0
    for backoff in (quiet, loud):
        backoff.succeed("the database")
    assert [record.getMessage() for record in caplog.records] == [
        "the database is away (0)",
        "the database answers again, after 7 s",
    ]

"""When a report is made in the background: where it takes long, or mostly waits."""

from __future__ import annotations

from evolvent.engines.overlap import Overlap

MS = 1e-3


def reports(took_s: float, waited_s: float, times: int, *, allowed: bool = True) -> str:
    """Return where so many reports of one kind were made, one after the other: b or -."""
    overlap, where = Overlap(allowed=allowed), ""
    for _ in range(times):
        where += "b" if overlap.wanted else "-"
        overlap.learn(took_s, waited_s=None if overlap.wanted else waited_s)
    return where


def test_what_takes_long_is_reported_in_the_background() -> None:
    assert reports(50 * MS, 0.0, 20) == "b" * 20


def test_what_is_quick_and_works_is_reported_at_once() -> None:
    assert reports(3 * MS, 0.2 * MS, 20) == "b" + "-" * 19


def test_what_is_quick_and_waits_is_reported_in_the_background_and_looked_at_now_and_then() -> None:
    assert reports(3 * MS, 2 * MS, 220) == "b" + ("-" * 5 + "b" * 100) * 2 + "-" * 5 + "b" * 4


def test_a_single_wait_changes_nothing() -> None:
    overlap = Overlap(allowed=True)
    for waited_s in (0.0, 4 * MS, 0.0, 0.0, 0.0, 0.0):
        overlap.learn(4 * MS, waited_s=waited_s)
    assert not overlap.wanted


def test_nothing_is_reported_in_the_background_where_that_is_not_allowed() -> None:
    assert reports(50 * MS, 40 * MS, 20, allowed=False) == "-" * 20

"""What it means that a process was ended by a signal."""

from __future__ import annotations

import signal

import pytest

from evolvent.engines.signals import killed_from_outside, signal_name


@pytest.mark.parametrize(
    ("code", "outside"),
    [
        (0, False),
        (3, False),
        (-signal.SIGSEGV, False),
        (-signal.SIGABRT, False),
        (-signal.SIGKILL, True),
        (-signal.SIGTERM, True),
        (-(signal.SIGRTMIN + 1), True),
    ],
)
def test_a_crash_is_the_doing_of_the_process_and_any_other_signal_is_not(
    code: int, outside: bool
) -> None:
    assert killed_from_outside(code) is outside


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (signal.SIGTERM, "SIGTERM"),
        (signal.SIGKILL, "SIGKILL (out of memory, or by hand)"),
        (signal.SIGRTMIN + 1, f"signal {signal.SIGRTMIN + 1}"),
    ],
)
def test_every_signal_has_a_name_for_messages(number: int, name: str) -> None:
    assert signal_name(number) == name

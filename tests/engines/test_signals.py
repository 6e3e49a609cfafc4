"""How signals are handled, and what it means that a process was ended by one."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

from evolvent.engines import signals
from evolvent.engines.signals import (
    Drain,
    asked_to_end,
    handle_interrupts,
    hold_interrupts,
    killed_from_outside,
    release_interrupts,
    signal_name,
)


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


@pytest.mark.parametrize(
    ("code", "asked"),
    [(-15, True), (-2, True), (143, True), (130, True), (-9, False), (137, False), (1, False)],
)
def test_an_exit_code_tells_that_a_process_was_asked_to_end(code: int, asked: bool) -> None:
    assert asked_to_end(code) is asked


def test_a_signal_that_is_sent_twice_at_once_is_handled_once() -> None:
    handled: list[int] = []
    with handle_interrupts(lambda: handled.append(1)):
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        assert len(handled) == 1


def test_a_signal_that_comes_again_later_is_handled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(signals._REPEATED_S, signal.SIGTERM, 0.0)
    handled: list[int] = []
    with handle_interrupts(lambda: handled.append(1)):
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
    assert len(handled) == 3


def test_signals_can_be_held_back_and_let_through() -> None:
    handled: list[int] = []
    with handle_interrupts(lambda: handled.append(1)):
        before = hold_interrupts()
        signal.raise_signal(signal.SIGTERM)
        assert handled == []
        release_interrupts(before)
        assert handled == [1]


def test_a_handler_may_set_a_drain_that_the_main_thread_waits_for() -> None:
    drain = Drain()
    assert not drain.wait(0.0)
    before = signal.signal(signal.SIGALRM, lambda *_: drain.set())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        assert drain.wait(30.0)
        assert drain.wait()
        assert drain.is_set()
    finally:
        signal.signal(signal.SIGALRM, before)


FORKS = """
    import multiprocessing, os, signal, sys, time
    from evolvent.engines.signals import handle_interrupts

    signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background has none

    def ends_by(process):
        process.start()
        process.terminate()
        process.join(10)
        return process.exitcode

    def helper(target=time.sleep, args=(60,)):
        return multiprocessing.get_context("fork").Process(target=target, args=args)

    def of_training(*_):
        os._exit(5)

    def both():
        print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)

    with handle_interrupts(lambda: None), handle_interrupts(lambda: None):
        print({ends_by(helper()) for _ in range(10)})
        process = helper(both, ())
        process.start()
        process.join()
        signal.signal(signal.SIGTERM, of_training)
        print(ends_by(helper()))
    print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, signal.pthread_sigmask(0, ()))
"""


def test_forked_processes_have_the_handlers_that_were_there_before() -> None:
    script = [sys.executable, "-W", "ignore", "-u", "-c", textwrap.dedent(FORKS)]
    printed = subprocess.run(script, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert printed.splitlines() == ["{-15}", "True", "True", "5", "True set()"]

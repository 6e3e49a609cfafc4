"""Where training failed, read out of the traceback that the log keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from evolvent.analysis.explain.tracebacks import failure_line, last_lines, place_of
from evolvent.engines.runner import failure_of
from evolvent.store.records import Failure, FailureKind


def failure(work: Any) -> Failure:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any, of training code
        work()
    return failure_of(caught.value)


def outer() -> None:
    inner()


def inner() -> None:
    raise ValueError("bad lr")


def in_a_library() -> None:
    json.loads("{")


def chained() -> None:
    try:
        inner()
    except ValueError as e:
        raise KeyError("later") from e


def test_place_is_the_innermost_line_of_the_users_code() -> None:
    line = inner.__code__.co_firstlineno + 1
    assert place_of(failure(outer).traceback) == f"test_tracebacks.py:{line} in inner"


def test_place_is_not_within_a_library() -> None:
    line = in_a_library.__code__.co_firstlineno + 1
    assert place_of(failure(in_a_library).traceback) == f"test_tracebacks.py:{line} in in_a_library"


def test_place_of_an_exception_raised_from_another_is_its_own() -> None:
    line = chained.__code__.co_firstlineno + 4
    assert place_of(failure(chained).traceback) == f"test_tracebacks.py:{line} in chained"


@pytest.mark.parametrize("traceback", [None, "", "killed", "  File, line"])
def test_what_has_no_frames_has_no_place(traceback: str | None) -> None:
    assert place_of(traceback) is None


def test_within_libraries_only_the_innermost_frame_is_the_place() -> None:
    frame = '  File "/x/site-packages/torch/nn/{}.py", line {}, in forward\n'
    text = f"Traceback (most recent call last):\n{frame.format('a', 1)}{frame.format('b', 2)}"
    assert place_of(text) == "b.py:2 in forward"


def test_failure_is_told_in_one_line() -> None:
    line = inner.__code__.co_firstlineno + 1
    at = f"(test_tracebacks.py:{line} in inner)"
    assert failure_line(failure(outer)) == f"ValueError: bad lr {at}"
    long = Failure(FailureKind.RAISED, "one\ntwo " * 3)
    assert failure_line(long) == "one"
    assert failure_line(Failure(FailureKind.RAISED, "x" * 999)).endswith("xxx…")
    assert failure_line(Failure(FailureKind.LOST, "")) == "nobody knows why"


def test_end_of_a_traceback_leaves_out_what_only_underlines() -> None:
    assert last_lines("one\n\n  two(x)\n      ^\nthree\n") == ["one", "  two(x)", "three"]
    assert last_lines("\n".join("abcdef"), most=2) == ["  …", "e", "f"]
    assert last_lines(None) == []


def test_end_of_a_traceback_begins_with_the_users_code() -> None:
    lines = last_lines(failure(outer).traceback)
    assert [line.partition("test_tracebacks.py")[2] for line in lines[-5::2]] == [
        f'", line {outer.__code__.co_firstlineno + 1}, in outer',
        f'", line {inner.__code__.co_firstlineno + 1}, in inner',
        "",
    ]
    engine = '  File "/x/site-packages/evolvent/engines/runner.py", line 1, in run\n    f()\n'
    user = '  File "/x/train.py", line 2, in train\n    g()\n'
    head = "Traceback (most recent call last):\n"
    assert last_lines(f"{head}{engine}{user}ValueError: no\n") == [
        *user.splitlines(),
        "ValueError: no",
    ]

"""Whoever watches a run may fail: training goes on, and standard error says so once."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from evolvent.engines.local.output import lasting_output
from evolvent.engines.observer import Observer, guarded
from evolvent.errors import ConfigError, StoreBusy

METHODS = {
    "start": (None,),
    "update": (None, list),
    "line": ("",),
    "finish": (None, ""),
    "close": (),
}


class Broken(Observer):
    """Raises from one of its methods on; counts its calls."""

    def __init__(self, method: str, error: BaseException) -> None:
        self.method, self.error = method, error
        self.calls: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name not in METHODS:
            return super().__getattribute__(name)
        return lambda *_: self.call(name)

    def call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.method:
            raise self.error


def train(job: ev.Job) -> dict[str, float]:
    return {"Q": job.hyperparameters["lr"]}


@pytest.mark.parametrize("method", METHODS)
def test_one_that_raises_is_closed_and_not_asked_again(
    method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Broken(method, ValueError("no such\ncolour"))
    observer = guarded(broken)
    for name, values in METHODS.items():
        getattr(observer, name)(*values)
        getattr(observer, name)(*values)
    before = [name for name in METHODS for _ in range(2)]
    assert broken.calls == [*before[: before.index(method) + 1], "close"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("evolvent: progress: Broken: ValueError: no such colour (")
    assert "test_observer.py:" in line


def test_one_that_finds_the_store_away_is_asked_again_and_told_of_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    watcher = Broken("update", StoreBusy("log.db stayed locked by another program"))
    observer = guarded(watcher)
    for _ in range(3):
        observer.update(None, list)  # type: ignore[arg-type]  # it looks at neither
    observer.finish(None, "over")  # type: ignore[arg-type]
    assert watcher.calls == ["update", "update", "update", "finish"]
    (line,) = capsys.readouterr().err.splitlines()
    assert "stayed locked by another program" in line
    assert line.endswith(": nothing is shown until that is over")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_what_is_meant_to_end_a_run_does(error: BaseException) -> None:
    with pytest.raises(type(error)):
        guarded(Broken("line", error)).line("")


def test_one_that_leaves_because_its_pipe_is_closed_is_switched_off() -> None:
    leaving = SystemExit(1)  # so rich does
    leaving.__context__ = BrokenPipeError(32, "Broken pipe")
    guarded(Broken("line", leaving)).line("")


def test_a_run_with_a_broken_observer_comes_to_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = ev.create_study(
        "digits", metric="Q", mode="max", population=2, rounds=2, space={"lr": ev.Uniform(0, 1)},
        store=f"sqlite:///{tmp_path}/log.db", algorithm=ev.RandomSearch(),
    )  # fmt: skip
    result = study.run(train, workers=0, progress=Broken("start", RuntimeError("no screen")))
    assert len(result.jobs()) == 4
    assert "RuntimeError: no screen" in capsys.readouterr().err


@pytest.mark.parametrize("progress", ["bar", None, 3])
def test_what_is_no_observer_is_refused_before_anything_begins(progress: Any) -> None:
    study = ev.create_study(
        "digits", metric="Q", mode="max", population=2, rounds=2, space={"lr": ev.Uniform(0, 1)},
        store="memory://", algorithm=ev.RandomSearch(),
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"progress: got .*, wanted True, False, or an observer"):
        study.run(train, workers=0, progress=progress)
    assert not study.jobs("done")


def test_without_a_standard_error_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for stderr in (None, io.StringIO()):
        if stderr is not None:
            stderr.close()
        monkeypatch.setattr(sys, "stderr", stderr)
        guarded(Broken("line", ValueError())).line("")


# --- the standard output of training code in this process -----------------------------------------


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - as training code does


class FullDisk(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, _: Any) -> int:
        raise OSError(28, "No space left on device")


def test_prints_of_training_code_go_on_when_they_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = io.TextIOWrapper(io.BufferedWriter(FullDisk()), encoding="utf-8", write_through=True)
    monkeypatch.setattr(sys, "stdout", full)
    with lasting_output():
        say("one")
        say("two")
        sys.stdout.writelines(["three\n"])
        assert sys.stdout.encoding == "utf-8"
    assert sys.stdout is full
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left on device: what is printed is lost; training goes on" in line
    with pytest.raises(OSError, match="No space"):  # as it was
        say("three")
    monkeypatch.undo()
    with pytest.raises(OSError, match="No space"):
        full.close()


def test_letters_that_the_terminal_lacks_are_printed_with_backslashes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, encoding="latin-1"))
    with lasting_output():
        say("é ✓")
    assert data.getvalue() == b"\xe9 \\u2713\n"


def test_it_is_the_terminal_to_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, terminal = os.openpty()
    with open(terminal, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with lasting_output():
            assert sys.stdout is not stdout
            assert sys.stdout.isatty()
            assert sys.stdout.fileno() == terminal
            say("shown")
        assert os.read(ours, 100) == b"shown\r\n"
    os.close(ours)


def test_what_training_code_puts_there_itself_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    with lasting_output():
        own = sys.stdout = io.StringIO()
    assert sys.stdout is own


def test_a_stream_that_somebody_else_has_put_there_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", own := io.StringIO())
    with lasting_output():
        assert sys.stdout is own

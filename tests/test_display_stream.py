"""Standard output as the display writes to it."""

from __future__ import annotations

import io
import os
import sys
import threading

import pytest
from rich.console import Console
from rich.file_proxy import FileProxy

from evolvent.display.stream import SafeConsole, SafeStream


class Pipe:
    """A pipe, of which `sys.stdout` is the end to write to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reader, writer = os.pipe()
        self.stdout = open(writer, "w", encoding="ascii")  # noqa: SIM115 - the tests close it
        # Not in a fixture: pytest puts its own in the place of stdout before the test begins.
        monkeypatch.setattr(sys, "stdout", self.stdout)

    def read(self) -> bytes:
        os.set_blocking(self.reader, False)
        return os.read(self.reader, 100)


def test_it_comes_after_what_was_printed_before(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = Pipe(monkeypatch)
    sys.stdout.write("printed\n")
    SafeConsole().print("épreuve ✓")
    assert pipe.read() == b"printed\n\\xe9preuve \\u2713\n"
    pipe.stdout.close()
    os.close(pipe.reader)


def test_what_a_closed_pipe_refuses_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = Pipe(monkeypatch)
    os.close(pipe.reader)
    with pytest.raises(BrokenPipeError):
        SafeConsole().print("shown")
    pipe.stdout.close()  # as Python does at its end: nothing of ours is left in the buffer


def test_a_pipe_that_does_not_block_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = Pipe(monkeypatch)
    os.set_blocking(pipe.stdout.fileno(), False)
    text = "x" * 1_000_000  # more than a pipe holds
    got = bytearray()

    def read() -> None:
        while len(got) < len(text):
            got.extend(os.read(pipe.reader, 1 << 16))

    reading = threading.Thread(target=read)
    reading.start()
    SafeStream().write(text)
    reading.join(60)
    assert got.decode() == text
    pipe.stdout.close()
    os.close(pipe.reader)


def test_a_stream_of_the_users_own_gets_text(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tee(io.StringIO):
        encoding = "ascii"  # type: ignore[assignment]

    monkeypatch.setattr(sys, "stdout", tee := Tee())
    SafeConsole().print("✓ [bold]shown[/bold]")
    assert tee.getvalue() == "\\u2713 shown\n"


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_where_there_is_none_nothing_is_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, name, None)
    console = SafeConsole(name)  # type: ignore[arg-type]  # a literal, passed on
    console.print("shown")
    assert not console.file.isatty()


def test_what_rich_has_put_in_its_place_is_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = Pipe(monkeypatch)
    monkeypatch.setattr(sys, "stdout", FileProxy(Console(file=io.StringIO()), pipe.stdout))
    SafeStream().write("shown")
    assert pipe.read() == b"shown"
    pipe.stdout.close()
    os.close(pipe.reader)

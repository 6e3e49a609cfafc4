"""Standard output as a place that may be lost, or lack a letter, while training goes on."""

from __future__ import annotations

import io
import select
import sys
from contextlib import suppress
from typing import Any, Literal

from rich.console import Console


class SafeStream:
    """`sys.stdout` or `sys.stderr`, whatever that is when something is written.

    What its encoding lacks is written with backslashes. What cannot be written raises, as with any
    file, but is kept in no buffer: there it would fail again when Python ends, or when the user
    prints something.
    """

    def __init__(self, name: Literal["stdout", "stderr"] = "stdout") -> None:
        self._name = name

    @property
    def encoding(self) -> str:
        return getattr(self._stream(), "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        stream = self._stream()
        isatty = getattr(stream, "isatty", None)  # what the user has put there may lack it
        return isatty is not None and bool(isatty())

    def write(self, text: str) -> int:
        stream = self._stream()
        if stream is not None:  # there is none under pythonw, or when its descriptor was closed
            self._write(stream, text.encode(self.encoding, "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Do nothing: it is all written."""

    def _stream(self) -> Any:
        # While a live table is shown, rich has put itself in the place of both; while training runs
        # in this process, `engines.local.output` may have.
        stream = getattr(sys, self._name)
        for inner in ("rich_proxied_file", "lasting_file"):
            stream = getattr(stream, inner, stream)
        return stream

    def _write(self, stream: Any, data: bytes) -> None:
        # Only of Python's own kind is it known that nobody else wants to see what passes through.
        if type(stream) is not io.TextIOWrapper:
            stream.write(data.decode(self.encoding))
            stream.flush()
            return
        with suppress(RuntimeError):  # a signal's handler is here, amid a print of training code
            stream.flush()  # what the user has printed before
        raw: Any = getattr(stream.buffer, "raw", stream.buffer)
        while data:
            written = raw.write(data)
            if written is None:  # somebody has made it non-blocking
                select.select([], [raw], [])
            else:
                data = data[written:]


class SafeConsole(Console):
    """A console on a `SafeStream`. A closed pipe is an error, not the end of the program."""

    def __init__(self, name: Literal["stdout", "stderr"] = "stdout", **options: Any) -> None:
        super().__init__(file=SafeStream(name), **options)  # type: ignore[arg-type]  # all it needs

    def on_broken_pipe(self) -> None:
        """Raise it: rich would leave by `SystemExit`, and take away the user's own output."""
        raise  # noqa: PLE0704 - called where it is handled

"""The standard output of training code that runs in this process."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from evolvent.engines.observer import tell_stderr


@contextmanager
def lasting_output() -> Iterator[None]:
    """Let no print of training code fail because of where it goes: in a worker it would not.

    Around what may put something in the place of standard output, and once more around training.
    """
    before: Any = sys.stdout
    # A live table's own takes what is printed to the same terminal. Others' are for them to judge.
    if type(before) is not io.TextIOWrapper and not hasattr(before, "rich_proxied_file"):
        yield
        return
    lasting: Any = _LastingOutput(before)
    sys.stdout = lasting
    try:
        yield
    finally:
        if sys.stdout is lasting:
            sys.stdout = before


class _LastingOutput:
    """Writes to a stream what that can show, and goes on when it is gone.

    Attributes:
        lasting_file: the stream itself.
    """

    def __init__(self, stream: Any) -> None:
        self.lasting_file = stream
        self._lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lasting_file, name)

    def write(self, text: str) -> int:
        try:
            try:
                self.lasting_file.write(text)
            except UnicodeEncodeError:
                known = text.encode(self.encoding, "backslashreplace")
                self.lasting_file.write(known.decode(self.encoding))
        except (OSError, ValueError) as e:  # the latter: training has closed it
            self._note(e)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self.lasting_file.flush()
        except (OSError, ValueError) as e:
            self._note(e)

    def _note(self, error: Exception) -> None:
        if not self._lost:
            self._lost = True
            tell_stderr(f"standard output: {error}: what is printed is lost; training goes on")

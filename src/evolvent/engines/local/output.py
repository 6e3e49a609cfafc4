"""The standard streams of training code that runs in this process."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from evolvent.engines.observer import tell_stderr

_NAMES = {"stdout": "standard output", "stderr": "standard error"}


@contextmanager
def lasting_output() -> Iterator[None]:
    """Let no print of training code fail because of where it goes: in a worker it would not.

    Around what may put something in the place of the streams, and once more around training.
    """
    with ExitStack() as stack:
        for name in _NAMES:
            stack.enter_context(_lasting(name))
        yield


@contextmanager
def _lasting(name: str) -> Iterator[None]:
    before: Any = getattr(sys, name)
    # A live table's own takes what is printed to the same terminal. Others' are for them to judge.
    if type(before) is not io.TextIOWrapper and not hasattr(before, "rich_proxied_file"):
        yield
        return
    lasting: Any = _LastingOutput(before, name)
    setattr(sys, name, lasting)
    try:
        yield
    finally:
        if getattr(sys, name) is lasting:
            setattr(sys, name, before)


class _LastingOutput:
    """Writes to a stream what that can show, and goes on when it is gone.

    Attributes:
        lasting_file: the stream itself.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self.lasting_file, self._name = stream, name
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
            name = _NAMES[self._name]  # of standard error, nobody hears it
            tell_stderr(f"{name}: {error}: what is printed is lost; training goes on")

"""The standard output of training code that runs in this process."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evolvent.engines.observer import tell_stderr


@contextmanager
def lasting_output() -> Iterator[None]:
    """Let no print of training code fail because of where it goes: in a worker it would not."""
    before: Any = sys.stdout
    # In a terminal and in a notebook others have put themselves in its place.
    if type(before) is not io.TextIOWrapper:
        yield
        return
    sys.stdout = lasting = _LastingOutput(before)
    try:
        yield
    finally:
        if sys.stdout is lasting:
            sys.stdout = before


class _LastingOutput(io.TextIOBase):
    """Writes to a stream what that can show, and goes on when it is gone.

    Attributes:
        lasting_file: the stream itself.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self.lasting_file = stream
        self._lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lasting_file, name)

    @property
    def encoding(self) -> str:  # type: ignore[override]  # of the base class, which has none
        return self.lasting_file.encoding

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

    def flush(self) -> None:
        try:
            self.lasting_file.flush()
        except (OSError, ValueError) as e:
            self._note(e)

    def _note(self, error: Exception) -> None:
        if not self._lost:
            self._lost = True
            tell_stderr(f"standard output: {error}: what is printed is lost; training goes on")

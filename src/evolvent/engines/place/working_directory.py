"""The working directory, which training code may change for as long as its own round lasts."""

from __future__ import annotations

import logging
import os
from contextlib import suppress

_O_PATH: int = getattr(os, "O_PATH", os.O_RDONLY)  # asks for no permission to list it

_logger = logging.getLogger("evolvent")


class WorkingDirectory:
    """The working directory of this moment; at the end of a context it is that again.

    Relative paths of the script mean the same in every round. And a round that has worked in
    `job.directory` would leave the next one in there, which by then is a sealed checkpoint.

    For the next context, it is the one at its beginning: mostly the same, which costs next to
    nothing to find out.
    """

    def __init__(self) -> None:
        self._descriptor = -1
        self._note()

    def __enter__(self) -> WorkingDirectory:
        if not (self._is_current() and self._is_open()):
            self._close()
            self._note()
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def restore(self) -> None:
        """Go back there."""
        if self._is_current():
            return
        try:
            if self._is_open():
                os.fchdir(self._descriptor)
            elif self._path:
                os.chdir(self._path)
        except OSError as e:
            _logger.warning("the working directory cannot be put back: %s", e)

    def __del__(self) -> None:
        self._close()

    def _note(self) -> None:
        self._descriptor, self._path = -1, ""
        self._identity: tuple[int, int] | None = None
        # The directory itself and not only its path: it may be renamed or removed meanwhile, and
        # another one may take its place.
        with suppress(OSError):
            self._descriptor = os.open(".", _O_PATH | os.O_CLOEXEC)
            self._identity = _identity(self._descriptor)
            self._path = os.getcwd()

    def _close(self) -> None:
        if self._is_open():
            os.close(self._descriptor)

    def _is_open(self) -> bool:
        # Training code may close all that is open, and open something else of that number.
        return self._descriptor >= 0 and _identity(self._descriptor) == self._identity

    def _is_current(self) -> bool:
        return self._identity is not None and _identity(".") == self._identity


def _identity(place: int | str) -> tuple[int, int] | None:
    try:
        info = os.stat(place)
    except OSError:
        return None
    return info.st_dev, info.st_ino

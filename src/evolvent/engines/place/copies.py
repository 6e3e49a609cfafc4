"""Copies that training code makes of the checkpoint it starts from, to write on in them.

A checkpoint is read-only, and whoever copies a file with its modes gets a read-only copy.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from evolvent.store.records import Failure

_ABSOLUTE = re.compile(r"(?<![^\s'\"`:=(])/")
_DENIED = os.strerror(errno.EACCES)

_CURE = (
    "A checkpoint is read-only, and so is a copy that keeps its modes. Begin with "
    "job.copy_checkpoint(), which gives job.directory a copy to write to; in a shell with "
    '`cp -R "$EVOLVENT_CHECKPOINT/." "$EVOLVENT_DIRECTORY" && chmod -R u+w "$EVOLVENT_DIRECTORY"`'
)

_lock = threading.RLock()  # a finalizer may come in between
_open: list[str] = []
_copystat, _copymode = shutil.copystat, shutil.copymode


class WritableCopies:
    """As long as it is open, what `shutil` copies into a directory may be written to.

    Its copies have the modes of what was copied, so those of a checkpoint would be read-only.
    Meanwhile two functions stand in for the ones of `shutil` that copy modes. An audit hook could
    do it too, but would stay for good, and cost every `id()` a third of a microsecond. Nothing is
    done for root, who may write to anything.
    """

    def __init__(self, directory: Path) -> None:
        self._is_open = os.geteuid() != 0
        if self._is_open:
            self._directory = str(directory)
            with _lock:
                _open.append(self._directory)
                _stand_in(_copystat_writable, _copymode_writable)

    def __enter__(self) -> WritableCopies:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Do no more for this directory."""
        if not self._is_open:
            return
        self._is_open = False
        with _lock:
            _open.remove(self._directory)
            # Somebody else may stand in for them by now, and call ours, which then do nothing.
            if not _open and shutil.copystat is _copystat_writable:
                _stand_in(_copystat, _copymode)

    def __del__(self) -> None:
        self.close()


def explained(failure: Failure, checkpoint: Path | None, directory: Path) -> Failure:
    """Return the failure, with the cure where it reads as if a copy were read-only.

    Args:
        failure: may name files by paths relative to one of these.
        checkpoint: that training started from; without one there is no copy.
        directory: that training saved into.
    """
    message = failure.message
    if checkpoint is None or _DENIED not in message or _CURE in message:
        return failure
    if (
        _ABSOLUTE.search(message)
        and str(directory) not in message
        and str(checkpoint) not in message
    ):
        return failure
    traceback = None if failure.traceback is None else f"{failure.traceback.rstrip()}\n{_CURE}\n"
    return replace(failure, message=f"{message}\n{_CURE}", traceback=traceback)


def _stand_in(copystat: Any, copymode: Any) -> None:
    vars(shutil).update(copystat=copystat, copymode=copymode)


def _copystat_writable(src: Any, dst: Any, *, follow_symlinks: bool = True) -> None:
    _copystat(src, dst, follow_symlinks=follow_symlinks)
    _allow_writing(dst)


def _copymode_writable(src: Any, dst: Any, *, follow_symlinks: bool = True) -> None:
    _copymode(src, dst, follow_symlinks=follow_symlinks)
    _allow_writing(dst)


def _allow_writing(copied: Any) -> None:
    with suppress(OSError, TypeError, ValueError):  # a descriptor; it is gone
        # Where it really is: a link may lead to what is nobody's copy.
        place = os.path.realpath(os.fsdecode(copied))
        folders = map(os.path.realpath, list(_open))
        if any(place == folder or place.startswith(f"{folder}/") for folder in folders):
            os.chmod(place, stat.S_IMODE(os.stat(place).st_mode) | stat.S_IWUSR)

"""Where training code failed: the place and the end of a traceback, as the log keeps it."""

from __future__ import annotations

import re
from pathlib import PurePath

from evolvent.store.records import Failure

_FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+), in (?P<name>.+)$', re.MULTILINE)
# Frames of installed libraries, of Python itself and of ours. By their paths, since the log may
# have been written on another machine.
_NOT_THE_USERS = re.compile(
    r"[\\/](site|dist)-packages[\\/]|[\\/]lib[\\/]python3[^\\/]*[\\/]|^<frozen "
    r"|[\\/]evolvent[\\/](core|engines|integrations|store)[\\/]"
)
_LAST = "Traceback (most recent call last):"
_LONGEST = 300
_LAST_LINES = 8


def place_of(traceback: str | None) -> str | None:
    """Return where in the user's code it failed, such as `train.py:31 in train`.

    That is the innermost frame outside libraries, or the innermost of all; None without frames.
    """
    frames, theirs = _frames(traceback)
    if not frames:
        return None
    frame = (theirs or frames)[-1]
    return f"{PurePath(frame['file']).name}:{frame['line']} in {frame['name']}"


def failure_line(failure: Failure) -> str:
    """Return what happened, and where in the user's code, in one line."""
    first = next(iter(failure.message.strip().splitlines()), "nobody knows why")
    cut = first if len(first) <= _LONGEST else f"{first[:_LONGEST]}…"
    place = place_of(failure.traceback)
    return cut if place is None else f"{cut} ({place})"


def last_lines(error: str | None, *, most: int = _LAST_LINES) -> list[str]:
    """Return the end of a traceback, or of the output of a command; of a longer one "…" first.

    What calls the user's code is left out.
    """
    text, (_, theirs) = error or "", _frames(error)
    end = text[theirs[0].start() :] if theirs else text
    # Without blank ones, and without those that only underline a part of the line above.
    lines = [line for line in end.splitlines() if line.strip(" ^~")]
    return lines if len(lines) <= most else ["  …", *lines[-most:]]


def _frames(traceback: str | None) -> tuple[list[re.Match[str]], list[re.Match[str]]]:
    """Return the frames of a traceback, and those of them that are of the user's code."""
    text = traceback or ""
    # Of exceptions that were raised from one another, the last one ended the job.
    frames = list(_FRAME.finditer(text, max(0, text.rfind(_LAST))))
    return frames, [frame for frame in frames if not _NOT_THE_USERS.search(frame["file"])]

"""Runs a program of the user's with all that it starts: nothing outlives us, nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TextIO

from evolvent.errors import TrainableError

# It ignores what a terminal or a queue sends to end a group: it has to be the last one there.
_GUARD = "trap '' HUP INT TERM; read _; kill -KILL 0"
_POLL_S = 0.5
_GRACE_S = 2.0  # for what a program has left running, such as a `tee` in its pipe
_CHUNK = 65536
_LONGEST_LINE = 16 * _CHUNK
_LONGEST_SHOWN = 1000
_KEPT_LINES, _KEPT_OBJECTS = 40, 100


@dataclass(frozen=True, slots=True)
class ProgramExit:
    """How a program has ended.

    Attributes:
        code: its exit code; negative for the signal that ended it.
        hung: whether we ended it, because it was silent for too long.
        objects: the last lines of its standard output that look like JSON objects, newest last.
        tail: the end of its standard error, or of its output when it wrote no error.
    """

    code: int
    hung: bool
    objects: Sequence[str]
    tail: Sequence[str]


def run_program(
    words: Sequence[str],
    *,
    environment: Mapping[str, str],
    beat: Callable[[], None],
    hang_s: float | None,
) -> ProgramExit:
    """Run a program to its end; what it prints is passed on line by line.

    It runs in a process group of its own: Ctrl-C does not reach it. The whole group is killed when
    the program has ended, when it hangs, when `beat` raises, and when this process dies.

    Args:
        words: the program and its arguments.
        environment: all of it.
        beat: called twice a second; what it raises ends the program and comes out.
        hang_s: seconds without a byte of output that count as a hang; None: any.

    Raises:
        TrainableError: it cannot be started.
    """
    with _process_group() as group:
        process = _start(words, environment, group)
        out = _OutputStream(process.stdout, sys.stdout)
        err = _OutputStream(process.stderr, sys.stderr)
        streams = (out, err)
        try:
            hung = _wait(process, streams, beat, hang_s)
            # What the program has started, such as a `tee`, may still have its last lines.
            if not hung:
                _join(streams)
        finally:
            _kill(group)
            process.wait()
        _join(streams)  # what has left the group may still hold the pipes
    tail = list(err.tail) or list(out.tail)
    return ProgramExit(process.returncode, hung, list(out.objects), tail)


class _OutputStream(threading.Thread):
    """Passes on what comes out of a pipe, and keeps the end of it."""

    def __init__(self, pipe: IO[bytes] | None, to: TextIO) -> None:
        super().__init__(name="evolvent-output", daemon=True)
        assert pipe is not None  # opened as one
        self._pipe, self._to = pipe, to
        self.last_output_at = time.monotonic()
        self.tail: deque[str] = deque(maxlen=_KEPT_LINES)
        self.objects: deque[str] = deque(maxlen=_KEPT_OBJECTS)
        self.start()

    def run(self) -> None:
        rest = b""
        with self._pipe as pipe:
            while chunk := pipe.read(_CHUNK):
                self.last_output_at = time.monotonic()
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > _LONGEST_LINE:  # or a program without line ends fills our memory
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self._handle_line(line)
        if rest:
            self._handle_line(rest)

    def _handle_line(self, line: bytes) -> None:
        shown = line.decode(errors="replace").rstrip("\r")
        with suppress(OSError, ValueError):  # ours has been closed: no reason to stop training
            self._to.write(f"{shown}\n")
            self._to.flush()
        last = shown.rpartition("\r")[2]  # of a progress bar, only how it stands
        self.tail.append(last[:_LONGEST_SHOWN])
        if last.lstrip().startswith("{"):
            self.objects.append(last)


@contextmanager
def _process_group() -> Iterator[int]:
    """Make a process group that is killed when this process dies, however it dies.

    Its leader is a shell that waits for the end of a pipe which only we hold open.
    """
    # A parent-death signal would do for one child, not for what that starts, and only on Linux.
    with subprocess.Popen(
        ["/bin/sh", "-c", _GUARD],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    ) as guard:
        try:
            yield guard.pid
        finally:
            _kill(guard.pid)


def _join(streams: Sequence[_OutputStream]) -> None:
    until = time.monotonic() + _GRACE_S
    for stream in streams:
        stream.join(max(0.0, until - time.monotonic()))


def _kill(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _start(
    words: Sequence[str], environment: Mapping[str, str], group: int
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            words,
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            process_group=group,
        )
    except OSError as e:
        raise TrainableError(f"command: {words[0]!r} cannot be started: {e.strerror}") from e


def _wait(
    process: subprocess.Popen[bytes],
    streams: Sequence[_OutputStream],
    beat: Callable[[], None],
    hang_s: float | None,
) -> bool:
    """Wait for the end; True when it has to be brought about, because the program hangs."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S if hang_s is None else min(_POLL_S, hang_s))
            return False
        beat()
        silent_s = time.monotonic() - max(stream.last_output_at for stream in streams)
        if hang_s is not None and silent_s > hang_s:
            return True

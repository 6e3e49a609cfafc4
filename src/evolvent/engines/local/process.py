"""One worker process as its driver sees it: pipes, signs of life, how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from evolvent import errors
from evolvent.engines.local.child import DRAIN, EXIT_HUNG
from evolvent.engines.signals import (
    hold_interrupts,
    killed_from_outside,
    release_interrupts,
    signal_name,
)
from evolvent.engines.worker_name import worker_name
from evolvent.store.records import FailureKind

# As the script's own, such as -O: what Python's own spawned processes are given.
_INTERPRETER = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
_CHILD = "evolvent.engines.local.child"
_LAST_LINES = 20
_CHUNK = 65536
_CHUNKS_AT_ONCE = 16  # a worker that never stops printing must not keep its driver busy
_LONGEST_LINE = 16 * _CHUNK
_EXIT_S = 0.02
_LONGEST_END_S = 10.0  # from the end of its work to that of its process


class WorkerProcess:
    """A running `evolvent.engines.local.child`.

    Attributes:
        slot: which worker of the driver it is; shown before its lines.
        name: how the log calls it.
        error: what it said went wrong; None while nothing did.
        seen: when it last gave a sign of life, on the monotonic clock.
        said: what a task that is none of a study has sent.
        work_ended: when it said that its work has ended, on that clock; None before.
        at_end: those of its pipes on which nothing can come any more.
    """

    def __init__(self, slot: int, task: Mapping[str, Any], *, env: Mapping[str, str]) -> None:
        """Start it.

        Args:
            slot: as above.
            task: what `child.py` is to do; `hashes`: a descriptor that it shares, or None.
            env: its environment.
        """
        status, child_end = os.pipe()
        shared = [] if task["hashes"] is None else [task["hashes"]]
        before = hold_interrupts()  # until it can take them: they would end it at its start
        try:
            self._process = subprocess.Popen(  # our own module
                [sys.executable, *_INTERPRETER, "-u", "-P", "-m", _CHILD, str(child_end)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(child_end, *shared),
                env=env,
                # Ctrl-C in the terminal does not reach it, and one signal ends all that it starts.
                start_new_session=True,
            )
        finally:
            os.close(child_end)  # held by us too, the pipe would not end when the child does
            release_interrupts(before)
        self.slot = slot
        self.name = worker_name(str(slot), pid=self._process.pid)
        self.error: errors.EvolventError | None = None
        self.seen = time.monotonic()
        self.said: deque[dict[str, Any]] = deque()
        self.work_ended: float | None = None
        assert self._process.stdout is not None  # opened as a pipe above
        self.pipes = (self._process.stdout.fileno(), status)
        # A worker that hangs in the middle of a line must not hold up the others.
        for fd in self.pipes:
            os.set_blocking(fd, False)
        self.at_end: set[int] = set()
        self._said_over = self._overdue = False
        self._partial = dict.fromkeys(self.pipes, b"")
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        # What concerns all workers one of them says.
        task = {**task, "options": {**task["options"], "name": self.name}, "warns": slot == 0}
        assert self._process.stdin is not None  # opened as a pipe above
        with contextlib.suppress(BrokenPipeError):  # it has ended: the driver sees that next
            pickle.dump(task, self._process.stdin)  # as it goes: what is large is not copied
            self._process.stdin.flush()

    def read(self) -> list[str]:
        """Read what has come on both pipes; return the lines that the worker printed."""
        for message in self._read(self.pipes[1]):
            self.seen = time.monotonic()
            self._handle_message(message)
        lines = self._read(self.pipes[0])
        self._lines.extend(lines)
        return lines

    def drain(self) -> None:
        """Let it end after the job that it runs."""
        self._send(DRAIN)

    def kill(self) -> None:
        """End it now, with whatever it started in its session."""
        # Also after its end: the group lives on for as long as one of its children does.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def kill_if_overdue(self) -> None:
        """End a process that, its work done, does not come to an end by itself."""
        if self.work_ended is not None and time.monotonic() - self.work_ended > _LONGEST_END_S:
            self._overdue = True
            self.kill()

    def has_ended(self) -> bool:
        # Its pipes end a moment before it does, and nothing wakes its driver after that.
        if len(self.at_end) == len(self.pipes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_EXIT_S)
        return self._process.poll() is not None

    @property
    def clean(self) -> bool:
        """Whether its work was done, and it said so."""
        # What happens afterwards, in what training has left to be done at exit, is no job's fault.
        # An exit code of 0 says nothing: training may have called `os._exit(0)`.
        return self._said_over

    @property
    def exited_well(self) -> bool:
        """Whether its process came to its end by itself, and without an error."""
        return self._process.returncode == 0

    @property
    def killed(self) -> bool:
        """Whether it was ended from outside: kill -9, or the kernel for want of memory."""
        return self._process.returncode == -signal.SIGKILL

    def failure_kind(self) -> FailureKind:
        """Say whose fault its end was: what training did to itself counts against the member."""
        code = self._process.returncode
        if self.error is not None:
            return FailureKind.RETURNED
        if not code or killed_from_outside(code):
            return FailureKind.LOST
        return FailureKind.RAISED

    def describe_exit(self) -> str:
        """Say in words how it ended."""
        code = self._process.returncode
        if self._overdue:
            return (
                f"was ended, {_LONGEST_END_S:g} s after its work: a thread, a process or an atexit "
                "hook of training goes on for longer"
            )
        if code == EXIT_HUNG:
            return "hung: no heartbeat for too long"
        if code is not None and code < 0:
            return f"killed by {signal_name(-code)}"
        return f"ended with exit code {code}"

    def tail(self) -> str:
        return "\n".join(self._lines)

    def close(self) -> None:
        """Let go of the pipes of an ended process."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]  # opened as a pipe above
        self._process.stdout.close()  # type: ignore[union-attr]  # likewise
        os.close(self.pipes[1])

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None  # opened as a pipe above
        with contextlib.suppress(BrokenPipeError):  # it has ended: the driver sees that next
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def _read(self, fd: int) -> list[str]:
        for _ in range(_CHUNKS_AT_ONCE):
            try:
                chunk = os.read(fd, _CHUNK)
            except BlockingIOError:
                break
            if not chunk:
                self.at_end.add(fd)
                break
            self._partial[fd] += chunk
        # A line without an end is shown as it is when the pipe has ended or it is getting too long.
        torn = fd in self.at_end or len(self._partial[fd]) > _LONGEST_LINE
        if torn and self._partial[fd][-1:] not in (b"", b"\n"):
            self._partial[fd] += b"\n"
        *lines, self._partial[fd] = self._partial[fd].split(b"\n")
        return [line.decode(errors="replace").rstrip("\r") for line in lines]

    def _handle_message(self, message: str) -> None:
        try:
            content = json.loads(message)
        except ValueError:
            return  # torn: it was killed while it wrote
        if "said" in content:
            self.said.append(content["said"])
            return
        if content and self.work_ended is None:  # else it is no more than a sign of life
            self.work_ended = time.monotonic()
        self._said_over = self._said_over or "over" in content
        if "error" in content:
            kind = getattr(errors, content["error"], errors.WorkerError)
            self.error = kind(content["message"], field=content.get("field"))

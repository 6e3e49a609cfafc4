"""Who a worker is: a name that tells, on the same host, whether its process still lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def worker_name(slot: str, *, pid: int | None = None) -> str:
    """Return a name for a worker on this host: host, process (ours by default), slot within it."""
    pid = os.getpid() if pid is None else pid
    return f"{_host()}/{pid}/{_start_time(pid)}/{slot}"


def is_gone(name: str) -> bool:
    """Whether the worker of that name ran on this host and its process has ended."""
    host, pid, start_time, *_ = [*name.split("/"), "", "", ""]
    if host != _host() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it lives, and is another user's
        return False
    return _start_time(int(pid)) != start_time


def _host() -> str:
    """Name the host and the process namespace: containers may share a host name."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        namespace = 0
    return f"{socket.gethostname()}.{namespace:x}"


def _start_time(pid: int) -> str:
    """Return the start time of a process in clock ticks: process numbers are used again."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The name of a program comes before and may hold blanks and brackets. A zombie has ended,
    # though its parent has not asked yet.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]

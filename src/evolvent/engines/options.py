"""How a run on this machine is set up, and how it can end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum


class Ending(Enum):
    """Why a run returned."""

    OVER = "over"  # nothing is left to claim
    INTERRUPTED = "interrupted"  # Ctrl-C or SIGTERM: running jobs were finished
    TIME = "time"  # the wall time is used up


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """How to run on this machine.

    Attributes:
        workers: processes to start; 0 runs in this process.
        devices: names dealt to the workers in turn; empty for none.
        threads: threads each worker's numeric libraries may use.
        lease_s: seconds after which the job of a silent worker is given to another.
        hang_s: seconds of silence after a first `job.heartbeat()` that count as a hang; None: any.
        wall_time_s: hand out no more jobs after so many seconds; None: no limit.
    """

    workers: int
    devices: tuple[str, ...] = ()
    threads: int = 1
    lease_s: float = 30.0
    hang_s: float | None = 600.0
    wall_time_s: float | None = None

    def device(self, slot: int) -> str | None:
        return self.devices[slot % len(self.devices)] if self.devices else None


def deadline(wall_time_s: float | None) -> float | None:
    """Return when, on the monotonic clock, a wall time that starts now is used up."""
    return None if wall_time_s is None else time.monotonic() + wall_time_s


def out_of_time(wall_time_s: float | None) -> str:
    """Return the reason for which a study is stopped at its wall time."""
    return f"wall time of {wall_time_s:g} s used up"

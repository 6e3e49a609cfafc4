"""How a run on this machine is set up, and how it can end."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from evolvent.core.study import StudyRecord
from evolvent.engines.place.settings import usable_cores
from evolvent.errors import ConfigError
from evolvent.validation import check_count, check_flag, check_number, cut

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class RunOutcome(Enum):
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
        threads_given: the user has said so; else variables of the environment that are set hold.
        lease_s: seconds after which the job of a silent worker is given to another.
        hang_s: seconds of silence after a first `job.heartbeat()` that count as a hang; None: any.
        wall_time_s: hand out no more jobs after so many seconds; None: no limit.
        grace_s: so many seconds after Ctrl-C or SIGTERM running jobs go back to the queue; None:
            they are finished, however long they take.
        keep_alive: live objects of a class that each worker keeps.
        log_dir: where what each worker prints goes into a file; None: it is shown.
        isolate_devices: let a worker see no CUDA device but its own, which is `cuda:0` for it.
    """

    workers: int
    devices: tuple[str, ...] = ()
    threads: int = 1
    threads_given: bool = False
    lease_s: float = 30.0
    hang_s: float | None = 600.0
    wall_time_s: float | None = None
    grace_s: float | None = None
    keep_alive: int = 1
    log_dir: Path | None = None
    isolate_devices: bool = False

    def device(self, slot: int) -> str | None:
        """Return what a worker is to call its device."""
        if not self.devices:
            return None
        return "cuda:0" if self.isolate_devices else self.devices[slot % len(self.devices)]

    def variables(self, slot: int) -> dict[str, str]:
        """Return the environment variables that are a worker's own."""
        variables = self.thread_variables()
        if self.isolate_devices:
            number = int(self.devices[slot % len(self.devices)].removeprefix("cuda:"))
            # A queue may have granted some only, by number or by name: we count among those.
            granted = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            names = [name.strip() for name in granted.split(",")] if granted else []
            variables["CUDA_VISIBLE_DEVICES"] = names[number] if names else str(number)
        return variables

    def thread_variables(self) -> dict[str, str]:
        """Return the environment variables of numeric libraries, as workers are to have them."""
        environment = {} if self.threads_given else os.environ
        # The others follow OpenMP's, as the libraries themselves would.
        others = environment.get("OMP_NUM_THREADS", str(self.threads))
        return {name: environment.get(name, others) for name in _THREAD_VARIABLES}


def local_options(  # noqa: PLR0913 - what a user may ask of a run, by name
    record: StudyRecord,
    *,
    workers: int | None = None,
    devices: Sequence[str] | None = None,
    per_device: int = 1,
    threads: int | None = None,
    keep_alive: int = 1,
    log_dir: str | Path | None = None,
    isolate_devices: bool = False,
    **seconds: float | None,
) -> LocalOptions:
    """Check what a user asks of a run and fill in what is left open; see `Study.run`.

    Args:
        record: the study to be run.
        workers: one for every device slot or core by default, at most one for every member.
        devices: names of accelerators.
        per_device: how many workers share one.
        threads: by default the cores are shared out, and a synchronous study takes 1, where the
            environment does not say it (`OMP_NUM_THREADS` and the like).
        keep_alive: as above.
        log_dir: as above; made if it is not there.
        isolate_devices: as above.
        seconds: `lease_s`, `hang_s`, `wall_time_s`, `grace_s`.

    Raises:
        ConfigError: names the argument, what came and what was wanted.
    """
    if isinstance(devices, str):
        raise ConfigError(f"devices: got the string {devices!r}, wanted a list such as ['cuda:0']")
    check_count("per_device", per_device, least=1)
    # Device by device in turn: with few workers each gets a device of its own.
    slots = tuple(d for _ in range(per_device) for d in devices or ())
    cores = usable_cores()
    n = workers if workers is not None else min(len(slots) or cores, record.population)
    check_count("workers", n, least=0)
    if slots and n > len(slots):
        raise ConfigError(
            f"workers: got {n} for {len(slots)} device slots: leave it out, or raise per_device"
        )
    # How a sum is shared out among threads changes its last bit, and one bit changes a decision.
    shared = 1 if record.synchronous else max(1, cores // max(1, n))
    checked = {
        name: None if value is None else check_number(name, value, above=0)
        for name, value in seconds.items()
    }
    return LocalOptions(
        workers=n,
        devices=slots,
        threads=shared if threads is None else check_count("threads", threads, least=1),
        threads_given=threads is not None,
        keep_alive=check_count("keep_alive", keep_alive, least=0),
        log_dir=_checked_log_dir(log_dir, workers=n),
        isolate_devices=_checked_isolation(isolate_devices, slots, workers=n),
        **checked,  # type: ignore[arg-type]  # lease_s is never None
    )


def _checked_log_dir(given: Any, *, workers: int) -> Path | None:
    if given is None:
        return None
    if workers == 0:
        raise ConfigError("log_dir: got it with workers=0, which print in this process: wanted 1")
    try:
        directory = Path(given).absolute()
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, TypeError) as e:
        raise ConfigError(f"log_dir: got {cut(given)}, wanted a directory: {e}") from e
    return directory


def _checked_isolation(given: Any, slots: Sequence[str], *, workers: int) -> bool:
    if not check_flag("isolate_devices", given):
        return False
    granted = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    for name in slots:
        kind, _, number = name.partition(":")
        known = kind == "cuda" and number.isdigit()
        if not known or (granted and int(number) >= len(granted)):
            wanted = f"cuda:0 to cuda:{len(granted) - 1}" if granted else "one such as cuda:0"
            raise ConfigError(f"isolate_devices: got device {cut(name)}, wanted {wanted}")
    if not slots or workers == 0:
        raise ConfigError("isolate_devices: wanted devices, and workers that are processes")
    return True


def deadline(seconds: float | None) -> float | None:
    """Return when, on the monotonic clock, a time that starts now is used up; None: never."""
    return None if seconds is None else time.monotonic() + seconds


def finishing(jobs: str, grace_s: float | None) -> str:
    """Return what a run says when it has been asked to end."""
    limit = "" if grace_s is None else f" for {grace_s:g} s at most"
    return f"finishing the running {jobs}{limit}; once more stops at once"


def out_of_grace(grace_s: float | None) -> str:
    """Return the reason for which running jobs are handed back."""
    return f"not finished within {grace_s:g} s of the signal to end"


def out_of_time(wall_time_s: float | None) -> str:
    """Return the reason for which a study is stopped at its wall time."""
    return f"wall time of {wall_time_s:g} s used up"

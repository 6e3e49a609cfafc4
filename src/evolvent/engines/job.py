"""The job as training code sees it while it runs."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolvent.core.records import JobId
from evolvent.engines.metrics import kept_numbers, plain_number
from evolvent.errors import LeaseLost, TrainableError
from evolvent.store.checkpoints.files import copy_tree
from evolvent.store.records import Point
from evolvent.validation import cut


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerContext:
    """What stays the same while a worker lives.

    Attributes:
        study: name of the study.
        device: such as `"cuda:1"`; None when no devices were given.
    """

    study: str
    device: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context(WorkerContext):
    """What a trainable is set up for; it may be moved to another member, whose `job` it then has.

    Attributes:
        member: number of the member, from 0, for which it was set up.
        seed: `job.seed` of that job: use it for initial weights.
    """

    member: int
    seed: int


class Job:
    """One member's one round, as handed to training code.

    Attributes:
        id: such as `m3r12`: member 3, round 12.
        member: number of the member, from 0.
        round: number of the round, from 0.
        attempt: 1, or more when earlier attempts at this job came to nothing.
        study: name of the study.
        hyperparameters: values for this round, nested as the space is.
        checkpoint: directory to start from, read-only; None for fresh weights. Training code that
            goes on in the files it finds, begins with `copy_checkpoint`.
        directory: empty directory whose content becomes the checkpoint when the job is reported:
            files, directories, and relative links among them.
        seed: 0 to 2**31 - 1; the same for every attempt at this job, another for every job.
        device: such as `"cuda:1"`; None when no devices were given.
        metrics: set by the ask/tell form; the other forms return them.
    """

    def __init__(  # noqa: PLR0913 - a record that users see, filled in one place
        self,
        *,
        id: JobId,
        study: str,
        attempt: int,
        hyperparameters: Mapping[str, Any],
        checkpoint: Path | None,
        directory: Path,
        seed: int,
        device: str | None = None,
    ) -> None:
        self.id = id
        self.member, self.round = id.member, id.round
        self.study = study
        self.attempt = attempt
        self.hyperparameters = hyperparameters
        self.checkpoint = checkpoint
        self.directory = directory
        self.seed = seed
        self.device = device
        self.metrics: Mapping[str, Any] | None = None
        self.last_beat: float | None = None
        self.lost: str | None = None
        self._points: list[Point] = []

    def copy_checkpoint(self) -> Path | None:
        """Copy the checkpoint into `directory`, and return that; None where there is none to copy.

        For training code that goes on in one folder: appends to a log, keeps what it does not
        write anew. All files and directories of the copy may be written to; links stay links.

        Raises:
            OSError: the disk is full, or a file of that name is in the way.
        """
        if self.checkpoint is None:
            return None
        copy_tree(self.checkpoint, self.directory)
        return self.directory

    def heartbeat(self, *_: object) -> None:
        """Say that training goes on. Cheap: call it for every batch; arguments are ignored.

        Once a job has called it, a long silence counts as a hang and the worker is replaced.

        Raises:
            LeaseLost: the job was given to another worker; let it pass.
        """
        self.last_beat = time.monotonic()
        if self.lost is not None:
            raise LeaseLost(self.lost)

    def log(self, *, step: float, **values: Any) -> None:
        """Keep a point of a curve within this round; counts as a heartbeat.

        Args:
            step: where on the axis, in the unit you like (batches, samples, environment steps).
            values: numbers by name; what is none is left out, with a warning.

        Raises:
            TrainableError: the step is no finite number.
            LeaseLost: the job was given to another worker; let it pass.
        """
        at = plain_number(step)
        if at is None or not math.isfinite(at):
            raise TrainableError(f"job.log(step={cut(step)}): the step must be a finite number")
        self._points.append(Point(float(at), kept_numbers(values, study=self.study)))
        self.heartbeat()

    def logged(self, *, after: int = 0, most: int | None = None) -> list[Point]:
        """Return the points logged so far, but for the first `after`, at most so many."""
        return self._points[after : None if most is None else after + most]

    def __repr__(self) -> str:
        return f"<Job {self.id} of {self.study!r}, attempt {self.attempt}>"

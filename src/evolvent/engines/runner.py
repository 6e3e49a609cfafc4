"""Runs one job after another with the user's code; keeps a live trainable where it can."""

from __future__ import annotations

import copy
import logging
import math
import traceback
from collections.abc import Mapping
from typing import Any, TypeAlias

from evolvent.core.records import JobId
from evolvent.core.study import StudyRecord
from evolvent.engines.job import Context, Job
from evolvent.engines.metrics import kept_metrics
from evolvent.engines.place.working_directory import WorkingDirectory
from evolvent.engines.trainable import AnyTrainable, Trainable
from evolvent.errors import EvolventError, TrainableError
from evolvent.store.records import Failure, FailureKind

Verdict: TypeAlias = tuple[float, dict[str, Any]] | Failure
"""What a job came to: its score and metrics, or how it failed."""

_logger = logging.getLogger("evolvent")


class Runner:
    """Load, apply, train, save, in this order, always.

    A function is called afresh for every job. Of a class one object is kept alive: when the next
    job starts from what the object saved last, it goes on without a load.
    """

    def __init__(self, trainable: AnyTrainable) -> None:
        self._trainable = trainable
        self._live: Trainable | None = None
        self._holds: JobId | None = None

    def holds(self, job: JobId | None) -> bool:
        """Whether the live trainable is in the state that `job` saved."""
        return job is not None and job == self._holds

    def run(self, job: Job, *, parent: JobId | None) -> Mapping[str, Any] | Failure:
        """Train one round and save it into `job.directory`; return what training returned.

        Whatever training code raises comes out as it is, and the live trainable is thrown away;
        only `sys.exit` is turned into an error, for it is not the worker's end that was meant.
        The working directory is the same afterwards.
        """
        try:
            with WorkingDirectory():
                if not isinstance(self._trainable, type):
                    return self._trainable(job)
                return self._run_round(self._trainable, job, parent=parent)
        except SystemExit as e:
            raise RuntimeError(f"training called sys.exit({e.code!r})") from e

    def forget(self) -> None:
        """Throw the live trainable away. That it cannot be closed is no fault of any job."""
        # Forgotten first: should `close` raise, the object is not taken for a live one again.
        live, self._live, self._holds = self._live, None, None
        if live is None:
            return
        try:
            with WorkingDirectory():
                live.close()
        except Exception:
            _logger.warning("%s.close() failed", type(live).__name__, exc_info=True)

    def _run_round(
        self, kind: type[Trainable], job: Job, *, parent: JobId | None
    ) -> Mapping[str, Any]:
        # Copied before `setup` and `job` let anybody at them: who pops one there still applies it.
        values = copy.deepcopy(job.hyperparameters)
        try:
            live = self._prepare(kind, job, parent=parent)
            live.apply(values)
            metrics = live.train()
            live.save(job.directory)
        except BaseException:
            self.forget()
            raise
        self._holds = job.id
        return metrics

    def _prepare(self, kind: type[Trainable], job: Job, *, parent: JobId | None) -> Trainable:
        if self._live is not None and self.holds(parent):
            self._live.job = job
            self._holds = None  # from its first step on it is in the state of no job
            return self._live
        self.forget()
        self._live = live = kind()  # from now on to be closed, whatever happens
        live.job = job
        live.setup(
            copy.deepcopy(job.hyperparameters),
            Context(study=job.study, member=job.member, seed=job.seed, device=job.device),
        )
        if job.checkpoint is not None:
            live.load(job.checkpoint)
        return live


def judge(returned: Any, study: StudyRecord) -> Verdict:
    """Turn what training returned into (score, metrics); a metric not finite, into a failure.

    Raises:
        TrainableError: no metrics, or the objective is missing or no number.
    """
    if isinstance(returned, Failure):  # of a command: it says itself how it failed
        return returned
    wanted = f"wanted a dict with the metric of study {study.name!r}: {{{study.metric!r}: value}}"
    if not isinstance(returned, Mapping):
        kind = type(returned).__name__
        got = "nothing (None)" if returned is None else f"{kind} {returned!r:.80}"
        raise TrainableError(f"training returned {got}: {wanted}")
    metrics = kept_metrics(returned, study=study.name, objective=study.metric)
    if study.metric not in metrics:
        names = ", ".join(map(repr, metrics)) or "an empty dict"
        raise TrainableError(f"training returned {names}: {wanted}")
    value = float(metrics[study.metric])
    if not math.isfinite(value):
        return Failure(FailureKind.INVALID, f"metric {study.metric!r} was {value}")
    return study.score(value), metrics


def failure_of(error: BaseException) -> Failure:
    """Return what the log says of an exception that came out of training."""
    # Formats also an exception whose own `__str__` raises.
    formatted = traceback.TracebackException.from_exception(error)
    returned = isinstance(error, EvolventError) or not isinstance(error, Exception)
    kind = FailureKind.RETURNED if returned else FailureKind.RAISED
    return Failure(kind, f"{type(error).__name__}: {formatted}", "".join(formatted.format()))

"""Runs one job after another with the user's code; keeps a live trainable where it can."""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping
from typing import Any, TypeAlias

from evolvent.core.records import JobId
from evolvent.core.study import StudyRecord
from evolvent.engines.job import Job
from evolvent.engines.live import LiveObjects
from evolvent.engines.metrics import kept_metrics
from evolvent.engines.place.copies import WritableCopies
from evolvent.engines.place.forks import forked_children_end
from evolvent.engines.place.working_directory import WorkingDirectory
from evolvent.engines.trainable import AnyTrainable, class_of
from evolvent.errors import EvolventError, TrainableError
from evolvent.store.records import Failure, FailureKind
from evolvent.validation import cut, cut_middle

_MOST_CALLS, _FIRST_CALLS = 1000, 20
_MOST_NAMES = 500
_HEADER = "Traceback (most recent call last):\n"

Verdict: TypeAlias = tuple[float, dict[str, Any]] | Failure
"""What a job came to: its score and metrics, or how it failed."""


class Runner:
    """Load, apply, train, save, in this order, always.

    A function is called afresh for every job. Of a class some objects are kept alive: see
    `LiveObjects`.
    """

    def __init__(
        self, trainable: AnyTrainable, record: StudyRecord | None = None, *, keep_alive: int = 1
    ) -> None:
        """Run a trainable; `record` and `keep_alive` are those of `LiveObjects`."""
        kind, params = class_of(trainable)
        self._function = trainable
        self._place = WorkingDirectory()
        self._live = (
            None if kind is None else LiveObjects(kind, params, record, keep_alive=keep_alive)
        )

    def holds(self, job: JobId | None, hyperparameters: Mapping[str, Any] | None = None) -> bool:
        """Whether there is a live trainable in the state that `job` saved.

        With hyperparameters: and one that can go on with them, so that nothing is loaded.
        """
        return self._live is not None and self._live.holds(job, hyperparameters)

    def sets_up_anew(self, name: str) -> bool:
        """Whether a live trainable is no use to another value of a hyperparameter."""
        return self._live is not None and self._live.sets_up_anew(name)

    @property
    def live_object(self) -> object:
        """The object of a class that has trained last; None where none is kept."""
        return None if self._live is None else self._live.newest

    def distrust(self, job: JobId) -> None:
        """What `job` has saved here is in no log: it is to be loaded. May come from any thread."""
        if self._live is not None:
            self._live.distrust(job)

    def run(self, job: Job, *, parent: JobId | None) -> Mapping[str, Any] | Failure:
        """Train one round and save it into `job.directory`; return what training returned.

        Whatever training code raises comes out as it is, and the live trainable is thrown away;
        only `sys.exit` is turned into an error, for it is not the worker's end that was meant.
        The working directory is the same afterwards.
        """
        try:
            with self._place, WritableCopies(job.directory):
                if self._live is not None:
                    return self._live.run(job, parent=parent)
                with forked_children_end():
                    return self._function(job)  # type: ignore[call-arg,return-value]  # no class
        except SystemExit as e:
            raise RuntimeError(f"training called sys.exit({e.code!r})") from e

    def close(self) -> None:
        """Throw the live trainables away."""
        if self._live is not None:
            self._live.close()


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
        got = "nothing (None)" if returned is None else f"{kind} {cut(returned)}"
        raise TrainableError(f"training returned {got}: {wanted}")
    metrics = kept_metrics(returned, study=study.name, objective=study.metric)
    if study.metric not in metrics:
        names = cut_middle(", ".join(map(repr, metrics)), _MOST_NAMES) or "an empty dict"
        raise TrainableError(f"training returned {names}: {wanted}")
    value = float(metrics[study.metric])
    if not math.isfinite(value):
        return Failure(FailureKind.INVALID, f"metric {study.metric!r} was {value}")
    return study.score(value), metrics


def failure_of(error: BaseException) -> Failure:
    """Return what the log says of an exception that came out of training."""
    # Formats also an exception whose own `__str__` raises. Of each one the last calls only, since
    # looking up the lines of a hundred thousand takes ten seconds.
    formatted = traceback.TracebackException.from_exception(error, limit=-_MOST_CALLS)
    text = "".join(formatted.format())
    n_cut = sum(1 for _ in traceback.walk_tb(error.__traceback__)) - _MOST_CALLS
    if n_cut > 0:
        first = "".join(traceback.format_tb(error.__traceback__, min(n_cut, _FIRST_CALLS)))
        gap = f"  … [{n_cut - min(n_cut, _FIRST_CALLS)} calls cut] …\n"
        before, header, after = text.rpartition(_HEADER)
        text = f"{before}{header}{first}{gap}{after}"
    returned = isinstance(error, EvolventError) or not isinstance(error, Exception)
    kind = FailureKind.RETURNED if returned else FailureKind.RAISED
    return Failure(kind, f"{type(error).__name__}: {formatted}", text)

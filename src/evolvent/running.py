"""A run of a study as its user meets it: checked, shown, summed up."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from evolvent.core.records import JobState
from evolvent.core.study import StudyRecord
from evolvent.engines.local.driver import run_local
from evolvent.engines.local.options import LocalOptions, RunOutcome
from evolvent.engines.local.output import lasting_output
from evolvent.engines.observer import LineObserver, Observer, guarded
from evolvent.engines.place.rerun import refuse_in_rerun
from evolvent.engines.trainable import PathWithParams, check_trainable
from evolvent.errors import AllMembersFailed, ConfigError, StoreError
from evolvent.store.protocol import Store
from evolvent.store.records import StudyState, StudyStatus
from evolvent.validation import DEFAULT_STORE

if TYPE_CHECKING:
    # Who trains need not read the log: what does is imported when the run has ended.
    from evolvent.result import Result


def check_run(store: Store, record: StudyRecord, trainable: Any, options: LocalOptions) -> None:
    """Refuse what cannot be run, before anything is written.

    Raises:
        ConfigError: names the argument, what came and what was wanted.
    """
    refuse_in_rerun("run")
    record.check_code()
    if not isinstance(trainable, (str, PathWithParams)):
        check_trainable(trainable)
    if options.workers > 0 and store.url.startswith("memory:"):
        raise ConfigError(
            f"workers: got {options.workers} with store {store.url!r}, which lives in "
            f"this process only: use workers=0, or a store such as {DEFAULT_STORE}"
        )


def observer_of(store: Store, study: int, progress: bool | Observer) -> Observer:
    """Return what shows a run: lines alone, the table of a terminal, or the user's own observer.

    Raises:
        ConfigError: it lacks a method.
    """
    if progress is False:
        return guarded(LineObserver())
    from evolvent.display.failures import FailuresObserver

    if progress is True:
        from evolvent.display.progress import Progress

        progress = Progress()
    return FailuresObserver(guarded(progress), store, study)


@lasting_output()
def train(
    store: Store,
    study: int,
    trainable: Any,
    options: LocalOptions,
    observer: Observer,
    *,
    warns: bool = False,
) -> Result:
    """Run workers until there is nothing to do, and return what the study has come to.

    Args:
        store: where it is.
        study: its number.
        trainable: as with `Study.run`.
        options: of the run.
        observer: shows it.
        warns: let it show what the log warns of at the end, too.

    Raises:
        DecisionError, TrainableError, AllMembersFailed: as `Study.run`.
        KeyboardInterrupt: at the second Ctrl-C.
    """
    outcome = RunOutcome.OVER
    try:
        if store.status(study).state is StudyState.OPEN:
            outcome = run_local(store, study, trainable, options=options, observer=observer)
        status = store.status(study)
        observer.finish(status, _summary(status, outcome))
        if warns:
            from evolvent.analysis.lineage.diversity import last_warnings

            for line in last_warnings(store, status):
                observer.line(line)
    except KeyboardInterrupt:  # the second one: all jobs are back in the queue
        with suppress(StoreError):  # what was asked for is to stop
            observer.finish(store.status(study), "stopped at once; run or resume it to go on")
        raise
    finally:
        observer.close()
    if status.state is StudyState.FAILED:
        raise AllMembersFailed(_last_failure(store, status))
    status.raise_failed_decision()
    from evolvent.result import Result

    return Result(status, store, outcome is RunOutcome.INTERRUPTED)


def _summary(status: StudyStatus, outcome: RunOutcome) -> str:
    jobs = f"{status.counts[JobState.DONE]} jobs"
    if status.n_failed:
        jobs += f" ({status.n_failed} more failed: `evolvent show` says why)"
    if outcome is RunOutcome.INTERRUPTED and status.state is StudyState.OPEN:
        return f"interrupted after {jobs}; run or resume it to go on"
    if outcome is RunOutcome.TIME and status.state is StudyState.OPEN:
        return f"out of time after {jobs}; the study is left open to other workers"
    if status.state is StudyState.STOPPED:
        return f"stopped after {jobs}: {status.stop_line}"
    return f"{status.state} after {jobs}"


def _last_failure(store: Store, status: StudyStatus) -> str:
    failures = store.failures(status.id)
    message = f"study {status.record.name!r}: all {status.members} members have failed"
    if not failures:
        return message
    last = failures[-1]
    detail = last.failure.traceback or last.failure.message
    return f"{message}; the last was {last.job}:\n{detail}"

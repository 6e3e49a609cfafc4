"""What a run does to a study as a whole, as far as its token allows: note, reopen and stop it."""

from __future__ import annotations

import contextlib
import logging

from evolvent.core.records import JobState
from evolvent.engines.worker_name import is_gone
from evolvent.errors import EvolventError, Forbidden
from evolvent.store.protocol import Store
from evolvent.store.records import Failure, FailureKind, StudyState, StudyStatus

_logger = logging.getLogger("evolvent")


def open_for_run(store: Store, status: StudyStatus, *, trainable: str | None) -> None:
    """Note the training code of a run, and reopen its study unless that is at its target.

    Args:
        store: where the study is.
        status: how it stands.
        trainable: import path of the code; None when it has none that others could use.

    Raises:
        Forbidden: the study was stopped or has failed, and the token may not reopen it.
    """
    if trainable is not None and trainable != status.record.trainable:
        # Workers that join without being told one import it, so it takes an admin's token; this run
        # knows its code and does without.
        try:
            store.remember(status.id, trainable=trainable)
        except Forbidden as e:
            _logger.debug("study %r does not remember %r: %s", status.record.name, trainable, e)
    # At its target a study is over; `run` does not train it further.
    halted = status.state in (StudyState.STOPPED, StudyState.FAILED)
    if halted and not status.at_target:
        store.resume(status.id)


def try_stop(store: Store, study: int, *, reason: str) -> bool:
    """Let nobody start another job; False when the token does not allow that."""
    try:
        store.stop(study, reason=reason)
    except Forbidden as e:
        _logger.debug("study number %d goes on without us: %s", study, e)
        return False
    return True


def release_dead(store: Store, study: int) -> int:
    """Take back the jobs of workers whose processes on this host have ended; return how many."""
    # A worker of this host that was killed with its driver: nobody else could know before its lease
    # runs out. Of other hosts nothing is known: there the lease decides.
    running = store.jobs(study, states=[JobState.RUNNING])
    dead = {job.worker for job in running if job.worker and is_gone(job.worker)}
    failure = Failure(FailureKind.LOST, "the process of its worker has ended")
    return sum(store.release(study, worker=name, failure=failure) for name in dead)


def collect_leftovers(store: Store, study: int) -> None:
    """Remove what workers that died have left; failing to is no reason not to train."""
    with contextlib.suppress(EvolventError, OSError):
        store.collect(study)

"""Logs put together by hand, in one line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evolvent.analysis.log import Log
from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.store.records import StudyState, StudyStatus
from tests.settings import study_record


def log_of(
    parents: Mapping[str, str],
    *,
    failed: Sequence[str] = (),
    hyperparameters: Mapping[str, Mapping[str, Any]] | None = None,
    scores: Mapping[str, float] | None = None,
    **changes: Any,
) -> Log:
    """Return a log of jobs in the order in which they are given.

    Args:
        parents: by job such as `m1r0` the one it started from; "" for fresh weights.
        failed: those that failed.
        hyperparameters: by job; the others have `lr = 0.1` and `momentum = 0.5`.
        scores: by job; the others that are done have 0.5.
        changes: settings of the study.
    """
    given = hyperparameters or {}
    jobs = [
        JobRecord(
            (id := JobId.parse(name)).member,
            id.round,
            JobState.FAILED if name in failed else JobState.DONE,
            {"lr": 0.1, "momentum": 0.5} | dict(given.get(name, {})),
            JobId.parse(parent) if parent else None,
            score=None if name in failed else (scores or {}).get(name, 0.5),
            attempt=1,
            started_at=float(line),
            finished_at=float(line) + 1,
        )
        for line, (name, parent) in enumerate(parents.items())
    ]
    members = 1 + max((job.member for job in jobs), default=0)
    record = study_record(**{"population": members, **changes})
    status = StudyStatus(
        id=1, record=record, state=StudyState.OPEN, counts={}, members=members, best=None,
        best_score=None, stopped=None, created_at=0.0, started_at=0.0, changed_at=0.0,
    )  # fmt: skip
    return Log.of(status, jobs)

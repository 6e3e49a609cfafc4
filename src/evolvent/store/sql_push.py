"""Members whose round 0 was trained elsewhere, within one transaction."""

from __future__ import annotations

from evolvent.core.records import Hyperparameters, JobId, JobRecord, JobState
from evolvent.store.records import PUSHED_BY, PUSHED_REASON, Lease, Report
from evolvent.store.sql_control import push
from evolvent.store.sql_rows import LINES
from evolvent.store.sql_session import Work
from evolvent.store.sql_work import report

_RUN = """
UPDATE member
SET state = 'running', attempt = 1, worker = :worker, reason = :reason, started_at = :now
WHERE id = :id
"""
_START = "UPDATE study SET started_at = :now WHERE id = :study AND started_at IS NULL"


def push_done(work: Work, hyperparameters: Hyperparameters, done: Report, *, metrics: str) -> JobId:
    """Add a member whose round 0 is done, and decide what it does next; `metrics` as text."""
    job = push(work, hyperparameters)
    values = {"id": work.study * LINES + job.member, "study": work.study, "now": work.now()}
    work.execute(_RUN, {**values, "worker": PUSHED_BY, "reason": PUSHED_REASON})
    work.execute(_START, values)
    running = JobRecord(job.member, 0, JobState.RUNNING, hyperparameters, attempt=1)
    report(work, Lease(work.study, running, PUSHED_BY), done, metrics=metrics)
    return job

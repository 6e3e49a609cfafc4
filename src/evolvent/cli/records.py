"""Records of the log as JSON objects."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from evolvent.core.records import JobRecord
from evolvent.result import nested
from evolvent.store.records import MemberView, StudyStatus


def job_as_json(job: JobRecord) -> dict[str, Any]:
    """Return everything the log knows about a job."""
    return {"id": str(job.id), **asdict(job), "donor": job.donor}


def member_as_json(view: MemberView, status: StudyStatus) -> dict[str, Any]:
    """Return the newest finished and the open job of a member, hyperparameters nested."""
    jobs = {"newest": view.newest, "open": view.open}
    return {
        name: None if job is None else job_as_json(nested(job, status))
        for name, job in jobs.items()
    }

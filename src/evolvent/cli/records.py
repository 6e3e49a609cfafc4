"""Jobs as JSON objects."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from evolvent.core.records import JobRecord


def job_as_json(job: JobRecord) -> dict[str, Any]:
    """Return everything the log knows about a job."""
    return {"id": str(job.id), **asdict(job), "donor": job.donor}

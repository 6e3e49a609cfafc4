"""What the API does: one table. What is not in it is not served below `/api/v1`."""

from __future__ import annotations

from evolvent.service import (
    api_control,
    api_read,
    api_studies,
    api_whole,
    api_work,
    checkpoints,
    uploads,
)
from evolvent.service.calls import Operation

PREFIX = "/api/v1"

DOCUMENTED: tuple[Operation, ...] = (
    *api_work.OPERATIONS,  # first: what workers send most is found soonest
    *api_studies.OPERATIONS,
    *api_control.OPERATIONS,
    *api_read.OPERATIONS,
    *api_whole.OPERATIONS,
    *checkpoints.OPERATIONS,
    *uploads.OPERATIONS,
)
"""All but the one that gives the document about them, which is in `api`."""

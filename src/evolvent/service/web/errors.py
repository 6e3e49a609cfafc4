"""Errors as answers: one JSON shape for all, and for each class of ours its status."""

from __future__ import annotations

import json
import logging
import secrets

from starlette.responses import Response

from evolvent import errors
from evolvent.errors import EvolventError
from evolvent.store.codec.fields import Malformed

_logger = logging.getLogger("evolvent.service")

STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (errors.StorageFull, 507),
    (errors.Unauthenticated, 401),
    (errors.Forbidden, 403),
    (errors.UnknownStudy, 404),
    (errors.UnknownJob, 404),
    (errors.StudyExists, 409),
    (errors.LeaseLost, 409),
    (errors.UploadConflict, 409),
    (errors.CheckpointTooLarge, 413),
    (errors.CheckpointMissing, 409),
    (errors.CheckpointDamaged, 409),
    (errors.ConfigError, 422),
    (errors.ArchiveError, 422),
    (Malformed, 422),
    (errors.StoreBusy, 503),
    (errors.StoreUnavailable, 503),
    (errors.CheckpointError, 507),
)
"""The first that fits counts."""

_UNAVAILABLE = 503
_HEADERS_OF_STATUS = {401: {"WWW-Authenticate": "Bearer"}, _UNAVAILABLE: {"Retry-After": "1"}}


class HttpError(EvolventError):
    """A request that no store is asked for: its status, and headers that belong to it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        field: str,
        kind: str = "BadRequest",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, field=field)
        self.status, self.kind, self.headers = status, kind, headers


def to_response(error: Exception) -> Response:
    """Return what a client is told of an error; of one that is not ours, a number only."""
    if isinstance(error, HttpError):
        return error_body(
            error.status, error.kind, str(error), field=error.field, headers=error.headers
        )
    if not isinstance(error, (EvolventError, Malformed)):
        return internal_error(error)
    for kind, status in STATUSES:
        if isinstance(error, kind):
            return _own_error(error, status)
    # What a store says of itself (a statement, a file) is for the log of the service only.
    return internal_error(error) if isinstance(error, errors.StoreError) else _own_error(error, 400)


def internal_error(error: Exception) -> Response:
    """Return the answer to a fault of ours; what happened is in the log of the service."""
    number = secrets.token_hex(6)
    _logger.error("internal error %s", number, exc_info=error)
    message = f"internal error {number}: the log of the service says more under this number"
    return error_body(500, "InternalError", message)


def error_body(
    status: int,
    kind: str,
    message: str,
    *,
    field: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return an answer in the shape of all errors."""
    body = {"error": {"type": kind, "message": message, "field": field}}
    text = json.dumps(body).encode()
    return Response(text, status, headers, media_type="application/json")


def _own_error(error: EvolventError | Malformed, status: int) -> Response:
    kind = "ConfigError" if isinstance(error, Malformed) else _public_name(type(error))
    # Always something that the client can look at: with the store nothing of its own is wrong.
    field = "store" if status >= _UNAVAILABLE else error.field or "request"
    return error_body(status, kind, str(error), field=field, headers=_HEADERS_OF_STATUS.get(status))


def _public_name(kind: type[Exception]) -> str:
    """Return the name by which clients know a class of errors: its own, or that of its parent."""
    public = vars(errors)
    return next(name for k in kind.__mro__ if public.get(name := k.__name__) is k)

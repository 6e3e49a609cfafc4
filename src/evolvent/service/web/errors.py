"""Errors as answers: one JSON shape for all, and for each class of ours its status."""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Mapping

from starlette.responses import Response

from evolvent import errors
from evolvent.errors import EvolventError
from evolvent.store.codec.fields import Malformed

_logger = logging.getLogger("evolvent.service")

STATUSES: tuple[tuple[type[Exception], int], ...] = (
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

_FULL = ("disk is full", "disk quota", "No space left", "database or disk")
_FULL_STATUS = 507
_FIELD = re.compile(
    r"(?:record: )?(?:space: )?(hyperparameter )?([A-Za-z_][\w.\[\]-]*)(?:[:.]| ['\"])"
)
_FIELDS: Mapping[str, str] = {
    "Unauthenticated": "Authorization",
    "UnknownStudy": "study",
    "UnknownJob": "job",
    "StudyExists": "name",
    "LeaseLost": "attempt",
    "CheckpointMissing": "checkpoint",
    "CheckpointDamaged": "checkpoint",
}
"""What an error of a class is about, where its message does not begin with it."""

_RETRY_S = 1


class HttpError(EvolventError):
    """A request that no store is asked for: its status, and headers that belong to it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "BadRequest",
        field: str | None = None,
        allow: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.field, self.allow = status, kind, field, allow


def to_response(error: Exception) -> Response:
    """Return what a client is told of an error; of one that is not ours, a number only."""
    if isinstance(error, HttpError):
        headers = {} if error.allow is None else {"Allow": error.allow}
        field = error.field or _about(error.status, error.kind, str(error))
        return error_body(error.status, error.kind, str(error), field=field, headers=headers)
    for kind, status in STATUSES:
        if isinstance(error, kind):
            return _known(error, status)
    full = any(word in str(error) for word in _FULL)
    if isinstance(error, EvolventError) and (full or not isinstance(error, errors.StoreError)):
        return _known(error, 503 if full else 400)
    return internal_error(error)


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


def status_of(error: Exception) -> int:
    """Return the status of the answer to an error."""
    return to_response(error).status_code


def _known(error: Exception, status: int) -> Response:
    message = str(error)
    if status >= _RETRY_FROM and any(word in message for word in _FULL):
        status = _FULL_STATUS
    headers = {"Retry-After": str(_RETRY_S)} if status == _RETRY_FROM else None
    if status == _UNAUTHORIZED:
        headers = {"WWW-Authenticate": "Bearer"}
    kind = "ConfigError" if isinstance(error, Malformed) else _public(type(error))
    return error_body(status, kind, message, field=_about(status, kind, message), headers=headers)


def _public(kind: type[Exception]) -> str:
    """Return the name by which clients know a class of errors: its own, or that of its parent."""
    ours = vars(errors)
    return next(name for k in kind.__mro__ if ours.get(name := k.__name__) is k)


_UNAUTHORIZED, _NOT_FOUND, _RETRY_FROM = 401, 404, 503


def _about(status: int, kind: str, message: str) -> str:
    """Return what an error is about: always something that the client can look at."""
    if status >= _RETRY_FROM:
        return "store"
    general = "path" if status == _NOT_FOUND else "request"
    return _FIELDS.get(kind) or _field(message) or general


def _field(message: str) -> str | None:
    """Return the field that a message begins with, as all of ours about values do."""
    found = _FIELD.match(message)
    if found is None:
        return "hyperparameters" if message.startswith("hyperparameter ") else None
    return f"hyperparameters.{found[2]}" if found[1] else found[2].rstrip(".")

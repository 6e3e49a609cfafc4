"""Errors of the service on this side of the wire: the same classes with the same words."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping

from evolvent import errors
from evolvent.errors import EvolventError, StoreError, StoreUnavailable

_NOT_FOUND = 404
_LONGEST = 300


def error_of(status: int, data: bytes, *, url: str) -> EvolventError:
    """Return the error that an answer tells of.

    It is of the class that the service names; a StoreError when the answer is none of ours, but of
    a proxy in between, for instance.
    """
    try:
        told = json.loads(data)["error"]
        name, message = str(told["type"]), str(told["message"])
    except (ValueError, TypeError, LookupError):
        words = data[:_LONGEST].decode(errors="replace")
        hint = ": is this the address of a service?" if status == _NOT_FOUND else ""
        return StoreError(f"{url} answered with status {status}{hint} {words!r}")
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, EvolventError):
        return kind(message)
    return StoreError(f"{url}: {message}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds the service wants us to wait; None when it does not say."""
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return None


def unavailable(url: str, error: Exception, tried_s: float) -> StoreUnavailable:
    """Return the error for a service that did not answer for so long."""
    return StoreUnavailable(
        f"the service at {url} cannot be reached ({type(error).__name__}: {error}); tried for "
        f"{tried_s:.0f} s: {_hint(url, error)}"
    )


def _hint(url: str, error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "for a certificate of your own set SSL_CERT_FILE to it, or to that of its authority"
    if isinstance(error, ssl.SSLError):
        return "does it speak TLS? If not, the address begins with http://"
    tls = " (if it speaks TLS: https://)" if url.startswith("http://") else ""
    return f"check the address{tls}, and that `evolvent serve` is running"

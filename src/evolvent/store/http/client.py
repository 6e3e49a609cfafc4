"""What all parts of the HTTP store do: ask in JSON, and understand what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode
from uuid import uuid4

from evolvent.errors import ConfigError, EvolventError, LeaseLost, StoreError, UnknownStudy
from evolvent.store.codec import messages
from evolvent.store.codec.fields import Malformed, encode, strict_json
from evolvent.store.http.transport import ANSWER_S, Transport
from evolvent.store.records import Lease, StudyStatus, Wait

_NO_CONTENT = 204
_JSON = {"Content-Type": "application/json"}

_T = TypeVar("_T")


class Requests:
    """Requests to one service.

    Args:
        transport: carries them.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def url(self) -> str:
        """Where the service is."""
        return self._transport.address.url

    def status(self, study: int) -> StudyStatus:
        """As `Store.status`."""
        return self._read(messages.status_from_json, self._get(f"/studies/{study}"))

    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        return self._json(self._transport.request("GET", _with(path, query)).data)

    def _lines(
        self,
        path: str,
        from_json: Callable[[Any], _T],
        query: Mapping[str, Any] | None = None,
    ) -> Iterator[_T]:
        for line in self._transport.lines(_with(path, query)):
            if line:
                yield self._read(from_json, self._json(line))

    def _post(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        wait: Wait | None = None,
    ) -> Any:
        """Send a JSON object; return what is told, None for nothing.

        Raises:
            GivenUp: the wait was ended before the answer came.
        """
        try:
            text = encode(body).encode("ascii")
        except ValueError as e:
            raise ConfigError(f"{path}: a value that no JSON can hold: {e}") from e
        wait = Wait(0.0) if wait is None else wait
        answer = self._transport.request(
            "POST",
            path,
            text,
            headers=_JSON,
            timeout_s=ANSWER_S + wait.seconds,
            cancel=wait.cancel,
        )
        return None if answer.status == _NO_CONTENT else self._json(answer.data)

    def _held(self, lease: Lease, action: str, body: Mapping[str, Any]) -> Any:
        """Send what concerns a lease.

        Raises:
            LeaseLost: it does not count, also because its study is gone.
        """
        fence = messages.fence_to_json(lease)
        try:
            return self._post(f"/studies/{lease.study}/{action}", {**fence, **body})
        except UnknownStudy as e:
            raise LeaseLost(f"{lease.job.id}: its study has been removed") from e

    def _json(self, data: bytes) -> Any:
        return self._read(strict_json, data)

    def _read(self, from_json: Callable[[Any], _T], data: Any) -> _T:
        try:
            return from_json(data)
        except EvolventError:
            raise
        except (Malformed, ValueError, TypeError, AttributeError, LookupError) as e:
            raise StoreError(f"{self.url} has sent something that is not understood: {e}") from e


def pages(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a query without those that are None; lists with commas."""
    given = {name: value for name, value in values.items() if value is not None}
    return {n: ",".join(v) if isinstance(v, (list, tuple)) else v for n, v in given.items()}


def quoted(text: str) -> str:
    """Return a text as one part of a path."""
    return quote(text, safe="")


def new_key() -> str:
    """Return a name for one call."""
    return uuid4().hex


def _with(path: str, query: Mapping[str, Any] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path

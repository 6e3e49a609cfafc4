"""Requests to the service, tried again while it restarts, and its answers.

The standard library's client, not a larger one: a worker's claim and report cost it a fifth of
the time, and a machine that only works needs nothing installed for it.
"""

from __future__ import annotations

import http.client
import json
import ssl
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import IO, TypeAlias, TypeVar

from evolvent import errors
from evolvent.errors import EvolventError, StoreError, StoreUnavailable, Unauthenticated
from evolvent.store.backoff import Backoff
from evolvent.store.codec.fields import Field
from evolvent.store.codec.strict_json import strict_json
from evolvent.store.http.connection import (
    CONNECTION_ERRORS,
    PERMANENT_ERRORS,
    Cancelled,
    ConnectionPool,
    Origin,
    answer_to,
    send_whole,
)

ANSWER_S = 90.0
"""So long a silence ends a try: the service waits a minute for its database, and then says so."""
RETRY_S = 120.0
"""For so long a service that has answered before may be away: a restart passes unnoticed."""
FIRST_RETRY_S = 3.0
"""For so long one that never answered is tried: then the address is likely wrong."""
_AGAIN = frozenset({429, 502, 503, 504})
_BLOCK = 1 << 16
Body: TypeAlias = bytes | Callable[[], IO[bytes]] | None
"""Bytes, or what opens them anew for every try."""
_STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0
_NO_CONTENT = 204
_NOT_FOUND = 404
_LONGEST = 300

_T = TypeVar("_T")


class Transport:
    """Sends requests to one service, from any number of threads.

    Every request may be sent more than once, unless it is forbidden: whoever changes something
    sends a key or an attempt. The service knows us by the token; None sends none.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self.origin = Origin(url)
        self._connections = ConnectionPool(self.origin)
        self._prefix = f"{self.origin.prefix}/api/v1"
        self._headers = {"Host": self.origin.netloc, "Accept-Encoding": "identity"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._closed = False
        self._reached = False

    def request(  # noqa: PLR0913 - what it is and how it may be sent, by name
        self,
        method: str,
        path: str,
        body: Body = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_S,
        cancel: Event | None = None,
        repeat: bool = True,
    ) -> bytes:
        """Send a request and return what is answered, once it is none of an error.

        Args:
            method: such as `POST`.
            path: below `/api/v1`, quoted, such as `/studies/3/claim`.
            body: bytes, or what opens them anew for every try.
            headers: beside our own.
            timeout_s: of silence after which it is tried again.
            cancel: set by another thread to give up waiting for the answer.
            repeat: whether it may be sent again when no answer has come.

        Raises:
            StoreUnavailable: no answer for `RETRY_S`.
            Cancelled: `cancel` was set first.
            EvolventError: what the service answered.
        """
        path, headers = self._prefix + path, {**self._headers, **(headers or {})}
        send = _Sending(method, path, body, headers, timeout_s, cancel, repeat)
        with self._answered(send, whole=True) as (response, data):
            # That there is nothing, such as no job, is said by a status of its own: a proxy that
            # answers with nothing has not asked the service.
            if not data and response.status != _NO_CONTENT:
                raise StoreError(f"{self.origin.url} has sent an empty answer")
            return data

    @contextmanager
    def stream(
        self, path: str, *, headers: Mapping[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Open the answer to a GET, to be read piece by piece; errors as with `request`.

        A connection that breaks off while it is read raises one of `CONNECTION_ERRORS`.
        """
        path, headers = self._prefix + path, {**self._headers, **(headers or {})}
        send = _Sending("GET", path, None, headers, ANSWER_S)
        with self._answered(send, whole=False) as (response, _):
            yield response

    def lines(self, path: str) -> Iterator[bytes]:
        """Read the lines of an answer as they come; one that breaks off is an error.

        Raises:
            StoreUnavailable: the connection broke off half-way.
        """
        accepted = {"Accept": "application/x-ndjson", "Accept-Encoding": "gzip"}
        with self.stream(path, headers=accepted) as response:
            try:
                yield from _split(_unpacked(response))
            except (*CONNECTION_ERRORS, zlib.error) as e:
                raise unavailable(self.origin.url, e, 0.0) from e

    def read(self, kind: Field[_T], data: bytes) -> _T:
        """Return what an answer, or a line of one, says.

        Raises:
            StoreError: it is not understood.
        """
        try:
            return kind.from_json(strict_json(data), "answer")
        except EvolventError:
            raise
        except (ValueError, TypeError, AttributeError, LookupError) as e:
            raise StoreError(
                f"{self.origin.url} has sent something that is not understood: {e}"
            ) from e

    def close(self) -> None:
        """Close the connections; the transport cannot be used afterwards."""
        self._closed = True
        self._connections.close()

    @contextmanager
    def _answered(
        self, send: _Sending, *, whole: bool
    ) -> Iterator[tuple[http.client.HTTPResponse, bytes]]:
        """Give the first answer that is none of an error; with its content, if it is `whole`."""
        for_s = RETRY_S if self._reached else FIRST_RETRY_S
        backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, for_s=for_s, spread=1.0)
        answered = None
        while answered is None:
            if send.cancel is not None and send.cancel.is_set():
                raise Cancelled
            answered = self._tried(send, backoff, whole=whole)
        backoff.succeed(self.origin.url)
        connection, response, data = answered
        try:
            yield response, data
        finally:
            self._give_back(connection, response)

    def _tried(
        self, send: _Sending, backoff: Backoff, *, whole: bool
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse, bytes] | None:
        """Send once; None when it is time to send again."""
        if self._closed:
            raise StoreError(f"{self.origin.url} has been closed")
        connection, used = self._connections.take(timeout_s=send.timeout_s)
        try:
            response = send(connection)
            failed = response.status >= http.client.BAD_REQUEST
            data = _content(response) if whole or failed else b""
        except CONNECTION_ERRORS as e:
            # Not used again: an answer that came late would be taken for that of the next request.
            connection.close()
            if not send.repeat:
                raise unavailable(self.origin.url, e, 0.0) from e
            if not (used and isinstance(e, _STALE)):  # closed while idle: at once, on a new one
                self._pause(send, backoff, e)
            return None
        except BaseException:  # Ctrl-C in the middle of an answer
            connection.close()
            raise
        # From now on a service that does not answer restarts, and is worth a longer wait.
        self._reached = True
        if not failed:
            return connection, response, data
        self._give_back(connection, response)
        error = error_of(response.status, data, url=self.origin.url)
        # Too many tokens were as wrong as ours: waiting would not make it right.
        hopeless = response.status not in _AGAIN or isinstance(error, Unauthenticated)
        if hopeless or not send.repeat:
            raise error
        self._pause(send, backoff, error, retry_after(response.getheader("retry-after", "")))
        return None

    def _pause(
        self, send: _Sending, backoff: Backoff, error: Exception, wanted_s: float | None = None
    ) -> None:
        """Wait for the next try, or raise when it has been long enough or will not help.

        An `error` of ours is the service's answer, which may want us to wait for `wanted_s`.
        """
        answered = isinstance(error, EvolventError)
        if backoff.is_over or (not self._reached and isinstance(error, PERMANENT_ERRORS)):
            if answered:
                raise error
            raise unavailable(self.origin.url, error, backoff.waited_s) from error
        how = "busy" if answered else "not there"
        backoff.announce(
            "%s is %s (%s): trying for %.0f s", self.origin.url, how, error, backoff.for_s
        )
        (send.cancel or Event()).wait(backoff.pause_s(wanted_s))

    def _give_back(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        """Keep a connection whose answer has been read to its end; close any other."""
        if response.isclosed() and not response.will_close and not self._closed:
            self._connections.give_back(connection)
        else:
            response.close()  # it would keep the socket open: the service must see us leave
            connection.close()


@dataclass(frozen=True, slots=True)
class _Sending:
    """One request, to be sent as often as it takes."""

    method: str
    path: str
    body: Body
    headers: Mapping[str, str]
    timeout_s: float
    cancel: Event | None = None
    repeat: bool = True

    def __call__(self, connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
        if not callable(self.body):
            send_whole(connection, self.method, self.path, self.body or b"", self.headers)
            return answer_to(connection, self.method, cancel=self.cancel)
        with self.body() as body:
            connection.request(self.method, self.path, body, self.headers)
            return connection.getresponse()


def _content(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read()
    except BaseException:
        response.close()  # as above
        raise


def _unpacked(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the blocks of an answer, which may come compressed."""
    packed = response.getheader("content-encoding") == "gzip"
    unpack = zlib.decompressobj(wbits=31) if packed else None
    while block := response.read1(_BLOCK):
        yield block if unpack is None else unpack.decompress(block)
    # Compressed or not, a stream that was cut must not pass for one that is short.
    if unpack is not None and not unpack.eof:
        raise http.client.IncompleteRead(b"")


def _split(blocks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        raise http.client.IncompleteRead(rest)


def error_of(status: int, data: bytes, *, url: str) -> EvolventError:
    """Return the error that an answer tells of.

    It is of the class that the service names; a StoreError when the answer is none of ours, but of
    a proxy in between, for instance.
    """
    try:
        described = json.loads(data)["error"]
        name, message = str(described["type"]), str(described["message"])
        field = described.get("field")
    except (ValueError, TypeError, LookupError):
        excerpt = data[:_LONGEST].decode(errors="replace")
        hint = ": is this the address of a service?" if status == _NOT_FOUND else ""
        return StoreError(f"{url} answered with status {status}{hint} {excerpt!r}")
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, EvolventError):
        return kind(message, field=field if isinstance(field, str) else None)
    return StoreError(f"{url}: {message}")


def retry_after(text: str) -> float | None:
    """Return how many seconds the service wants us to wait; None when it does not say."""
    try:
        return max(0.0, float(text))
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

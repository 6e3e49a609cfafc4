"""Connections to one service, kept open and lent to one thread at a time."""

from __future__ import annotations

import http.client
import io
import os
import selectors
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Mapping
from threading import Event
from urllib.parse import SplitResult, urlsplit

from evolvent.errors import ConfigError
from evolvent.validation import cut

_PORTS = {"http": 80, "https": 443}
_TICK_S = 0.2
_FORM = "http://host:8080 or https://host/prefix"


class Origin:
    """Where a service is.

    Args:
        url: `http://host:8080`, `https://host`, also with a path before `/api/v1`.

    Raises:
        ConfigError: not of that form, or with a password in it.
    """

    def __init__(self, url: str) -> None:
        parts = _parts(url)
        self.host, self.tls = parts.hostname or "", parts.scheme == "https"
        self.port = parts.port or _PORTS[parts.scheme]
        self.prefix = parts.path.rstrip("/")
        self.url = f"{parts.scheme}://{parts.netloc}{self.prefix}"
        self.netloc = parts.netloc


def _parts(url: str) -> SplitResult:
    wrong = ConfigError(f"store: got {cut(url, 200)}, wanted {_FORM}")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise wrong
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError as e:  # a port that is none
        raise wrong from e
    if not usable:
        raise wrong
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigError(
            f"store: got a URL of {parts.hostname} with a user, query or fragment, wanted {_FORM}; "
            "the token goes into EVOLVENT_TOKEN"
        )
    return parts


class Cancelled(Exception):
    """Nobody waits for this answer any more."""


class ConnectionPool:
    """Idle connections, the newest lent first; a forked child opens its own."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._idle: list[http.client.HTTPConnection] = []
        weakref.finalize(self, _close, self._idle)  # nobody may have closed us
        self._lock = threading.Lock()
        self._tls = ssl.create_default_context() if origin.tls else None
        _ALIVE.add(self)

    def take(self, *, timeout_s: float) -> tuple[http.client.HTTPConnection, bool]:
        """Lend a connection; tell whether it has been used before, and may be stale."""
        # The newest: it is the least likely to have been closed by the service meanwhile.
        with self._lock:
            used = self._idle.pop() if self._idle else None
        if used is None:
            return self._new(timeout_s), False
        used.timeout = timeout_s
        if used.sock is not None:
            used.sock.settimeout(timeout_s)
        return used, True

    def give_back(self, connection: http.client.HTTPConnection) -> None:
        """Take a connection back whose last answer has been read to its end."""
        if connection.sock is None:
            return
        with self._lock:
            self._idle.append(connection)

    def close(self) -> None:
        """Close those that are idle."""
        with self._lock:
            _close(self._idle)

    def abandon(self) -> None:
        """Leave the connections to the parent of this process, whose they are."""
        self._lock = threading.Lock()  # another thread of the parent may have held it
        _close(self._idle)  # our ends only: nothing is sent, and the parent goes on with them

    def _new(self, timeout_s: float) -> http.client.HTTPConnection:
        origin = self._origin
        if self._tls is None:
            return http.client.HTTPConnection(origin.host, origin.port, timeout=timeout_s)
        return http.client.HTTPSConnection(
            origin.host, origin.port, timeout=timeout_s, context=self._tls
        )


def send_whole(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
) -> None:
    """Send a request in one piece, where `connection.request` sends two.

    Nothing is under way on the connection; `headers` are all but Content-Length.
    """
    if connection.sock is None:
        connection.connect()
    lines = [f"{method} {path} HTTP/1.1", *map(": ".join, headers.items())]
    if body or method not in {"GET", "DELETE"}:
        lines.append(f"Content-Length: {len(body)}")
    # A second piece would wait for the first to be acknowledged: 40 ms on some machines.
    head = "\r\n".join([*lines, "\r\n"]).encode("ascii")
    connection.sock.sendall(head + body)


def answer_to(
    connection: http.client.HTTPConnection, method: str, *, cancel: Event | None = None
) -> http.client.HTTPResponse:
    """Return the answer to the request that was sent last, as soon as it begins.

    Raises:
        Cancelled: `cancel` has been set first.
        TimeoutError: nothing came within the connection's timeout.
    """
    response = http.client.HTTPResponse(connection.sock, method=method)
    try:
        if cancel is not None:
            _wait_for(response.fp, connection, cancel)
        response.begin()
    except BaseException:
        response.close()  # it would keep the socket open: the service must see us leave
        raise
    return response


def _wait_for(
    reader: io.BufferedReader, connection: http.client.HTTPConnection, cancel: Event
) -> None:
    # In short looks: an event of another thread wakes no `select`.
    until = time.monotonic() + (connection.timeout or 0.0)
    with selectors.DefaultSelector() as selector:
        selector.register(connection.sock, selectors.EVENT_READ)
        while not (selector.select(_TICK_S) and _begins(reader, connection.sock)):
            if cancel.is_set():
                raise Cancelled
            if time.monotonic() > until:
                raise TimeoutError("no answer came in time")


def _begins(reader: io.BufferedReader, sock: socket.socket) -> bool:
    """Whether what has come is an answer: TLS also sends things of its own."""
    if not isinstance(sock, ssl.SSLSocket):
        return True
    timeout_s = sock.gettimeout()
    sock.setblocking(False)
    try:
        reader.peek(1)
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return False
    finally:
        sock.settimeout(timeout_s)
    return True


def _close(idle: list[http.client.HTTPConnection]) -> None:
    while idle:
        idle.pop().close()


_ALIVE: weakref.WeakSet[ConnectionPool] = weakref.WeakSet()


def _abandon_all() -> None:
    for connections in list(_ALIVE):
        connections.abandon()


os.register_at_fork(after_in_child=_abandon_all)


CONNECTION_ERRORS = (OSError, http.client.HTTPException)
"""What a connection raises when the service is away, restarting, or cut off."""

PERMANENT_ERRORS = (ssl.SSLCertVerificationError, socket.gaierror)
"""Of these, what trying again does not mend at the first contact."""

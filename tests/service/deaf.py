"""A proxy that loses answers: what was asked has been done, and nobody hears of it."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Deaf:
    """Passes requests on one by one.

    Attributes:
        url: what a client connects to.
        lose: the answers to so many requests are lost from now on.
        lost: the first lines of the requests whose answers were lost.
    """

    def __init__(self, url: str) -> None:
        self._to = urlsplit(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.lose = 0
        self.lost: list[str] = []

    def run(self) -> None:
        """Take connections until closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def close(self) -> None:
        # A thread that waits in `accept` would hold the socket open.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection((self._to.hostname, self._to.port)) as service:
            while request := _message(client):
                service.sendall(request)
                answer = _message(service)
                if self.lose > 0:
                    self.lose -= 1
                    self.lost.append(request.split(b"\r\n", 1)[0].decode())
                    return
                client.sendall(answer)


def _message(connection: socket.socket) -> bytes:
    """Return a whole request or answer; nothing when the other side has closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(1 << 16)
        if not part:
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    found = _LENGTH.search(head)
    missing = (int(found[1]) if found else 0) - len(body)
    while missing > 0:
        part = connection.recv(missing)
        data, missing = data + part, missing - len(part)
    return data


@contextlib.contextmanager
def deaf(url: str) -> Iterator[Deaf]:
    """Run such a proxy for the time of a block."""
    proxy = Deaf(url)
    thread = threading.Thread(target=proxy.run, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join()

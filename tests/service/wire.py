"""The network between a client and a service: it counts bytes, and breaks when told to."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

_BLOCK = 1 << 14
_RESET = struct.pack("ii", 1, 0)


class Wire:
    """Passes bytes on, both ways.

    Attributes:
        url: what a client connects to.
        sent: bytes that went to the service.
        heard: bytes that came from it.
        breaks: numbers of bytes, counted both ways together, at which all connections end.
        on_break: called then, before anybody can connect again.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = self.heard = 0
        self.breaks: list[int] = []
        self.on_break: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._done: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._cut()
        for thread in list(self._threads):
            thread.join()
        self._listener.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with self._lock:
                    try:
                        service = socket.create_connection(("127.0.0.1", self._port))
                    except OSError:
                        client.close()
                        continue
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    for end in (client, service):
                        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._pairs.append((client, service))
                ends = [client, service]
                for up in (True, False):
                    thread = threading.Thread(target=self._pass, args=(ends, up), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pass(self, ends: list[socket.socket], up: bool) -> None:
        source, target = ends if up else reversed(ends)
        with contextlib.suppress(OSError):
            while block := source.recv(_BLOCK):
                with self._lock:  # before: who has got all of it may look at once how much it was
                    self.sent += len(block) if up else 0
                    self.heard += 0 if up else len(block)
                target.sendall(block)
                with self._lock:
                    if self.breaks and self.sent + self.heard >= self.breaks[0]:
                        self.breaks.pop(0)
                        self._cut()
                        self.on_break()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        # What nobody takes any more, too, until the service closes its end: it may wait for room,
        # and to one who is gone and has read all that came the kernel would never tell it.
        with contextlib.suppress(OSError):
            while source.recv(_BLOCK):
                pass
        with self._lock:
            self._done.append(source)
            if target in self._done:
                for end in ends:
                    end.close()

    def _cut(self) -> None:
        """End all connections: clients see a reset, the service an end after what was passed on."""
        pairs, self._pairs = self._pairs, []
        for client, service in pairs:
            for end, how in ((client, socket.SHUT_RDWR), (service, socket.SHUT_WR)):
                with contextlib.suppress(OSError):
                    end.shutdown(how)


@contextlib.contextmanager
def wire(port: int) -> Iterator[Wire]:
    """Lay a wire to a port of this machine for the time of a block."""
    laid = Wire(port)
    try:
        yield laid
    finally:
        laid.close()

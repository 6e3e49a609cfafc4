"""The command `evolvent serve` as a process: started, asked, told to stop, killed."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0


class Served:
    """One running service.

    Attributes:
        url: where it listens.
    """

    def __init__(self, store: str, folder: Path, *options: str) -> None:
        self._log = folder / "service.log"
        command = [sys.executable, "-m", "evolvent", "serve", store, *options]
        if "--port" not in options:
            command += ["--port", "0"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        words = self.process.stdout.readline()
        if " at http" not in words:
            self.wait()
            raise AssertionError(f"{words}\n{self.said()}")
        self.url = next(word for word in words.split() if word.startswith("http"))

    @property
    def port(self) -> int:
        return int(urlsplit(self.url).port or 0)

    def said(self) -> str:
        """Return what it has written on its standard error."""
        return self._log.read_text()

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = None
    ) -> tuple[int, Any]:
        """Send one request over a connection of its own; return status and JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        with contextlib.closing(connection):
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            told = response.read()
            return response.status, json.loads(told) if told else None

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end; return its exit code."""
        code = self.process.wait(PATIENCE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self.wait()

    def open(self) -> socket.socket:
        """Open a connection to send pieces of a request on."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def accepts(self) -> bool:
        """Whether it takes new connections."""
        try:
            self.open().close()
        except OSError:
            return False
        return True


@contextlib.contextmanager
def served(store: str, folder: Path, *options: str) -> Iterator[Served]:
    """Run a service for the time of a block; nothing of it outlives the block."""
    running = Served(store, folder, *options)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.kill()
        elif running.process.stdout is not None:
            running.process.stdout.close()


def until(condition: Any, *, what: str) -> Any:
    """Look again and again until `condition` holds; return what it returned."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:g} s in vain for {what}"
        time.sleep(0.005)
    return found


def heard(connection: socket.socket) -> bytes:
    """Return all that comes until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)

"""A service in a process of its own: to be killed, and started again on the same port."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evolvent.service.serve import serve
from evolvent.service.settings import Settings
from evolvent.store.connect import open_store
from evolvent.store.http import HttpStore
from evolvent.store.tokens import tokens_of

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 30.0


class ServiceProcess:
    """`evolvent serve` of a SQLite file in `home`, on a port that stays the same."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.home = home
        self.store_url = f"sqlite:///{home}/study.db"
        self._settings = {"port": _free_port(), **settings}
        self.url = f"http://127.0.0.1:{self._settings['port']}"
        with contextlib.closing(open_store(self.store_url)) as store:
            self.token, _ = tokens_of(store).create("admin")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.home / "service.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.service.process"),
                    *(self.store_url, json.dumps(self._settings)),
                ],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """Ask it to end; return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(PATIENCE_S)

    def connect(self) -> HttpStore:
        """Return a client of it."""
        return HttpStore(self.url, self.token)

    def log(self) -> str:
        return (self.home / "service.log").read_text()

    def memory(self, what: str = "VmRSS") -> int:
        """Return the bytes of memory that it uses, or with `VmHWM`, has used at most."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(what))
        return int(line.split()[1]) * 1024

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._settings["port"]), 0.2).close()
        except OSError:
            return False
        return True


@contextlib.contextmanager
def service(home: Path, **settings: Any) -> Iterator[ServiceProcess]:
    """Run a service for the time of a block."""
    running = ServiceProcess(home, **settings)
    running.start()
    try:
        yield running
    finally:
        running.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(store_url: str, settings: str) -> None:
    with contextlib.closing(open_store(store_url)) as store:
        serve(store, Settings(**json.loads(settings)), ready=lambda url: print(url, flush=True))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main(*sys.argv[1:])

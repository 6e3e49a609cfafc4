"""A service in a thread of this process, with a real socket: for tests that look at both sides."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Any

from evolvent.store.protocol import Store
from evolvent.store.tokens import RoleName, tokens_of
from tests.needs import needs

needs("uvicorn")

# isort: split
from evolvent.service.app import create_app  # noqa: E402 - after what skips
from evolvent.service.server.run import DrainingServer, listener, uvicorn_config  # noqa: E402 - after what skips
from evolvent.service.settings import ServiceSettings  # noqa: E402 - after what skips

_PATIENCE_S = 30.0


class Service:
    """A running service.

    Attributes:
        url: where it listens.
        store: what it serves.
    """

    def __init__(self, url: str, store: Store) -> None:
        self.url, self.store = url, store

    def token(self, role: RoleName = "admin", study: str | None = None) -> str:
        """Make a token."""
        return tokens_of(self.store).create(role, study=study)[0]


@contextlib.contextmanager
def service(store: Store, **settings: Any) -> Iterator[Service]:
    """Serve a store for the time of a block."""
    its_settings = ServiceSettings(port=0, **settings)
    ready: queue.Queue[bool] = queue.Queue()
    with listener(its_settings) as bound:
        app = create_app(store, tokens=tokens_of(store), settings=its_settings)
        config = uvicorn_config(app, its_settings)
        server = DrainingServer(
            config, ready=lambda: ready.put(True), stopping=app.state.stop_waiting
        )
        server.install_signal_handlers = lambda: None
        thread = threading.Thread(target=_run, args=(server, bound), daemon=True)
        thread.start()
        assert ready.get(timeout=_PATIENCE_S)
        try:
            yield Service(f"http://127.0.0.1:{bound.getsockname()[1]}", store)
        finally:
            server.should_exit = True
            thread.join(_PATIENCE_S)
    assert not thread.is_alive()


def _run(server: DrainingServer, bound: Any) -> None:
    asyncio.run(server.serve(sockets=[bound]))

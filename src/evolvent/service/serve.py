"""A service as a process: listens, drains on SIGTERM, ends at once on the second signal."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from evolvent.errors import MissingExtra

try:
    import jinja2  # noqa: F401 - imported where it is used; here to say so before anything is done
    import starlette  # noqa: F401 - likewise
    import uvicorn
except ImportError as e:
    raise MissingExtra("a service needs more: pip install 'evolvent[serve]'") from e

from evolvent.service.app import create_app
from evolvent.service.listen import allow_many_connections, check_certificate, listener
from evolvent.service.patience import PatientProtocol
from evolvent.service.settings import Settings
from evolvent.store.protocol import Store
from evolvent.store.tokens import tokens_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_KEEP_ALIVE_S = 75


def serve(store: Store, settings: Settings, *, ready: Callable[[str], None]) -> None:
    """Serve a store until a signal says to stop; then finish what is running.

    Args:
        store: what to serve.
        settings: where and how.
        ready: called with the URL once it can be reached.

    Raises:
        ConfigError: it cannot listen there, or not with this certificate.
    """
    tokens = tokens_of(store)
    check_certificate(settings.certfile, settings.keyfile)
    allow_many_connections()
    with listener(settings) as bound:
        app = create_app(store, tokens=tokens, settings=settings)
        server = DrainingServer(
            uvicorn_config(app, settings),
            ready=lambda: ready(url_of(settings, bound)),
            stopping=app.state.closing.set,
        )
        server.run(sockets=[bound])


class DrainingServer(uvicorn.Server):
    """Ends with 0 on SIGTERM or Ctrl-C, after what is running; the second signal ends at once.

    Args:
        config: uvicorn's.
        ready: called once it accepts connections.
        stopping: called when it accepts no more; whoever only waits may stop waiting.
    """

    def __init__(
        self, config: uvicorn.Config, *, ready: Callable[[], None], stopping: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is running, for as long as `timeout_graceful_shutdown` says."""
        self._stopping()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        """Take a signal; uvicorn would send it to itself again at the end, and not end with 0."""
        if self.should_exit:
            os._exit(128 + sig)  # what has been answered is safe: the store survives kill -9
        self.should_exit = True


def url_of(settings: Settings, bound: socket.socket) -> str:
    """Return the URL of a service that listens on a socket."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http{'s' * settings.encrypted}://{host}:{bound.getsockname()[1]}"


def uvicorn_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """Return how uvicorn is to run a service."""
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        lifespan="on",
        log_config=None,  # the command decides where words go
        ssl_certfile=settings.certfile,
        ssl_keyfile=settings.keyfile,
        proxy_headers=bool(settings.trusted_proxies),  # uvicorn would believe all on this machine
        forwarded_allow_ips=list(settings.trusted_proxies),
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(settings.drain_s),
    )

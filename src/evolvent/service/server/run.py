"""A service as a process: listens, drains on SIGTERM, ends at once on the second signal."""

from __future__ import annotations

import errno
import math
import os
import resource
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from evolvent.errors import ConfigError, MissingExtra
from evolvent.validation import invalid

try:
    import jinja2  # noqa: F401 - imported where it is used; here to say so before anything is done
    import starlette  # noqa: F401 - likewise
    import uvicorn
except ImportError as e:
    raise MissingExtra("a service needs more: pip install 'evolvent[serve]'") from e

from evolvent.service.app import create_app
from evolvent.service.server.protocol import TimeoutProtocol
from evolvent.service.settings import ServiceSettings
from evolvent.store.protocol import Store
from evolvent.store.tokens import tokens_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_KEEP_ALIVE_S = 75
_BACKLOG = 2048
_MOST_FILES = 1 << 16


def serve(store: Store, settings: ServiceSettings, *, ready: Callable[[str], None]) -> None:
    """Serve a store until a signal says to stop; then finish what is running.

    As soon as it can be reached, `ready` is called with its URL.

    Raises:
        ConfigError: it cannot listen there, or not with this certificate.
    """
    tokens = tokens_of(store)
    # Before the port is bound: who is refused has announced nothing.
    check_certificate(settings.certfile, settings.keyfile)
    allow_many_connections()
    with listener(settings) as bound:
        app = create_app(store, tokens=tokens, settings=settings)
        server = DrainingServer(
            uvicorn_config(app, settings),
            ready=lambda: ready(url_of(settings, bound)),
            stopping=app.state.stop_waiting,
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
        # First, or uvicorn would wait for claims that wait for jobs, until their time is up.
        self._stopping()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        """Take a signal; uvicorn would send it to itself again at the end, and not end with 0."""
        if self.should_exit:
            os._exit(128 + sig)  # what has been answered is safe: the store survives kill -9
        self.should_exit = True


def url_of(settings: ServiceSettings, bound: socket.socket) -> str:
    """Return the URL of a service that listens on a socket."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http{'s' * settings.encrypted}://{host}:{bound.getsockname()[1]}"


def uvicorn_config(app: ASGIApp, settings: ServiceSettings) -> uvicorn.Config:
    """Return how uvicorn is to run a service."""
    return uvicorn.Config(
        app,
        http=TimeoutProtocol,
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


def listener(settings: ServiceSettings) -> socket.socket:
    """Return a socket that listens where the settings say.

    Raises:
        ConfigError: names the option, what is wrong and what to do.
    """
    host, port = settings.host, settings.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        both = host == "::" and socket.has_dualstack_ipv6()
        bound = socket.create_server(
            (host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both
        )
    except socket.gaierror as e:
        raise ConfigError(f"--host: got {host!r}, which is no address of any machine") from e
    except OSError as e:
        raise ConfigError(_translate_error(e, host, port)) from e
    # What it accepts inherits this. An answer goes out in two pieces, and without it the second
    # waits 40 ms for the first to be acknowledged.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def _translate_error(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"--port: {port} on {host} is in use by another program: stop it, or choose "
                "another port (0 takes any that is free)"
            )
        case errno.EADDRNOTAVAIL:
            return f"--host: {host} is no address of this machine: use 127.0.0.1 or 0.0.0.0"
        case errno.EACCES:
            return f"--port: {port} is reserved for the system: choose one above 1023"
    return f"--host, --port: cannot listen on {host}:{port}: {error.strerror or error}"


def check_certificate(certfile: Path | None, keyfile: Path | None) -> None:
    """Refuse files that TLS could not be spoken with.

    Raises:
        ConfigError: names the option and the file.
    """
    if certfile is None:
        if keyfile is not None:
            raise ConfigError("--keyfile: needs --certfile, the certificate that belongs to it")
        return
    for option, path in (("--certfile", certfile), ("--keyfile", keyfile)):
        if path is not None and not path.is_file():
            raise invalid(option, f"there is no file {path}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile, lambda: "")
    except (ssl.SSLError, OSError) as e:
        if keyfile is None and certfile.is_file() and b"PRIVATE KEY" not in certfile.read_bytes():
            raise ConfigError(
                f"--keyfile: missing, and {certfile} holds no key: name the key of the certificate"
            ) from e
        reason = getattr(e, "reason", None) or getattr(e, "strerror", None) or e
        raise ConfigError(
            f"--certfile, --keyfile: {certfile} and {keyfile or certfile} do not make a pair "
            f"that TLS can use ({reason}): wanted PEM files, the key without a password"
        ) from e


def allow_many_connections() -> None:
    """Raise this process's limit of open files: a thousand waiting workers need as many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

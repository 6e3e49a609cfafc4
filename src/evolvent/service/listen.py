"""Where a service listens: the socket, its certificate, and clear words when it cannot."""

from __future__ import annotations

import errno
import resource
import socket
import ssl
from pathlib import Path

from evolvent.errors import ConfigError
from evolvent.service.settings import Settings

_BACKLOG = 2048
_MOST_FILES = 1 << 16


def listener(settings: Settings) -> socket.socket:
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
        raise ConfigError(_explained(e, host, port)) from e
    # What it accepts inherits this. An answer goes out in two pieces, and without it the second
    # waits 40 ms for the first to be acknowledged.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def _explained(error: OSError, host: str, port: int) -> str:
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
            raise ConfigError(f"{option}: there is no file {path}")
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

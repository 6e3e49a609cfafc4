"""How a service is set up."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """What `evolvent serve` was asked for.

    Attributes:
        host: name or number of the machine to listen on.
        port: to listen on; 0 for any that is free.
        certfile, keyfile: PEM files for TLS; None to speak plain HTTP.
        max_checkpoint_bytes: the largest checkpoint that is taken, all its files together.
        upload_idle_s: an upload to which nothing was sent for so long may be thrown away.
        upload_stall_s: the time that half a megabyte of an upload may take.
        max_study_bytes: the largest study that is taken in as a whole, with its checkpoints.
        max_body_bytes: the largest body of any other request.
        trusted_proxies: addresses whose X-Forwarded-For and X-Forwarded-Proto are believed.
        drain_s: how long running requests may take to finish after SIGTERM.
        signed_in_s: how long a browser stays signed in.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    certfile: Path | None = None
    keyfile: Path | None = None
    max_checkpoint_bytes: int = 16 * GIB
    upload_idle_s: float = 3600.0
    upload_stall_s: float = 30.0
    max_study_bytes: int = 64 * GIB
    max_body_bytes: int = 8 * MIB
    trusted_proxies: tuple[str, ...] = ()
    drain_s: float = 8.0
    signed_in_s: float = 12 * 3600.0

    @property
    def exposed(self) -> bool:
        """Whether other machines can reach it."""
        if self.host == "localhost":
            return False
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:  # a name: it may mean any interface
            return True

    @property
    def encrypted(self) -> bool:
        return self.certfile is not None

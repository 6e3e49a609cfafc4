"""From a URL to the store that it names."""

from __future__ import annotations

from pathlib import Path

from evolvent.errors import ConfigError
from evolvent.store.protocol import Store

_FORMS = "memory://, memory://NAME, sqlite:///relative.db, sqlite:////absolute.db or a path *.db"
_LATER = {
    "postgresql": "PostgreSQL stores are",
    "postgres": "PostgreSQL stores are",
    "http": "the HTTP service is",
    "https": "the HTTP service is",
}


def open_store(url: str, *, create: bool = True) -> Store:
    """Open the store of a URL.

    Args:
        url: `sqlite:///evolvent.db` (relative), `sqlite:////data/evolvent.db` (absolute), a path
            that ends in `.db`, `memory://`, or `memory://name` to share within this process.
        create: make the file when it is not there; otherwise that is an error.

    Raises:
        ConfigError: the URL is of no known form.
        StoreError: the store cannot be used; says why and what to do.
    """
    scheme, separator, rest = str(url).partition("://")
    if not separator and url.endswith(".db"):
        return _sqlite(Path(url), create=create)
    if separator and scheme == "memory":
        return _memory(rest)
    if separator and scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        return _sqlite(Path(rest[1:]), create=create)
    if scheme in _LATER:
        raise ConfigError(f"store: {_LATER[scheme]} not in this version; use {_FORMS}")
    raise ConfigError(f"store: got {url!r}, wanted {_FORMS}")


def _sqlite(path: Path, *, create: bool) -> Store:
    from evolvent.store.sql import SqlStore  # noqa: PLC0415 - each kind is imported on first use

    return SqlStore(path, create=create)


def _memory(name: str) -> Store:
    from evolvent.store.memory import MemoryStore  # noqa: PLC0415 - each kind on first use

    return MemoryStore(name)

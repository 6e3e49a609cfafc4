"""From a URL to the store that it names."""

from __future__ import annotations

from pathlib import Path

from evolvent.errors import ConfigError
from evolvent.store.protocol import Store

_FORMS = (
    "memory://, memory://NAME, sqlite:///relative.db, sqlite:////absolute.db, a path *.db, "
    "postgresql://user@host/database or http://host:8080"
)


def open_store(url: str, *, create: bool = True) -> Store:
    """Open the store of a URL.

    Args:
        url: `sqlite:///evolvent.db` (relative), `sqlite:////data/evolvent.db` (absolute), a path
            that ends in `.db`, `memory://`, or `memory://name` to share within this process;
            `postgresql://user@host/database`, with `?checkpoints=DIRECTORY` (or
            EVOLVENT_CHECKPOINTS) for the directory that all machines share, by default
            `evolvent.checkpoints` in the working directory; `schema=NAME`, by default `evolvent`;
            and any parameter of libpq, of which a password is never shown again; `http://host`
            or `https://host`, where `evolvent serve` runs, opened by the token in EVOLVENT_TOKEN.
        create: make the file or tables when they are not there; otherwise that is an error.

    Raises:
        ConfigError: the URL is of no known form.
        StoreError: the store cannot be used; says why and what to do.
    """
    # Each kind is imported on first use; PostgreSQL needs psycopg.
    scheme, separator, rest = str(url).partition("://")
    if scheme in {"http", "https"}:
        from evolvent.store.http.store import HttpStore  # noqa: PLC0415

        return HttpStore(url)
    from evolvent.store.sql.store import SqlStore  # noqa: PLC0415

    if scheme in {"postgresql", "postgres"}:
        from evolvent.store.postgres.database import PostgresDatabase  # noqa: PLC0415

        return SqlStore(PostgresDatabase(url, create=create))
    if separator and scheme == "memory":
        from evolvent.store.memory import MemoryDatabase  # noqa: PLC0415

        return SqlStore(MemoryDatabase(rest))
    if not separator and url.endswith(".db"):
        path = Path(url)
    elif scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        path = Path(rest[1:])
    else:
        raise ConfigError(f"store: got {url!r}, wanted {_FORMS}")
    from evolvent.store.sqlite.database import SqliteDatabase  # noqa: PLC0415

    return SqlStore(SqliteDatabase(path, create=create))


def secret_url(store: Store) -> str:
    """Return the URL by which another process opens this store; do not print it.

    Unlike `store.url` it holds the password, if the store was opened with one.
    """
    url: str = getattr(store, "secret_url", store.url)
    return url

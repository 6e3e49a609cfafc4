"""URLs of PostgreSQL stores: what goes to libpq, what is ours, and what may be shown."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from evolvent.errors import ConfigError, MissingExtra
from evolvent.validation import cut

try:
    import psycopg
    from psycopg import conninfo, pq
except ImportError as e:
    raise MissingExtra("needs psycopg: pip install 'evolvent[postgres]'") from e

PLACE_VARIABLE = "EVOLVENT_CHECKPOINTS"
DEFAULT_PLACE = "evolvent.checkpoints"
DEFAULT_SCHEMA = "evolvent"

_OUR_PARAMETERS = ("checkpoints", "schema")
_SECRET = frozenset({"password", "sslpassword", "oauth_client_secret"})
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_PORTS = re.compile(r"[0-9,]*")
_FORM = (
    "postgresql://user@host:5432/database, then ?name=value&… with parameters of libpq, "
    "checkpoints=/shared/directory or schema=name; a password is better kept in ~/.pgpass or "
    "PGPASSWORD, and in a URL its special characters are written as %XX"
)
_DEFAULTS = {
    "application_name": "evolvent",
    "client_encoding": "utf8",
    "connect_timeout": "10",
    # a server that has vanished is noticed within a minute, not after two hours
    "keepalives_idle": "20",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """One PostgreSQL store.

    Attributes:
        url: without any password, with an absolute directory of checkpoints; may be printed.
        secret_url: the same with the password, for another process of the same user.
        conninfo: what libpq gets; may hold a password.
        checkpoints: absolute directory of this user's stores.
        schema: of the tables.
    """

    url: str
    secret_url: str
    conninfo: str
    checkpoints: Path
    schema: str

    def __repr__(self) -> str:
        return f"PostgresUrl({self.url!r})"


def parse(url: str) -> PostgresUrl:
    """Take a URL apart.

    Raises:
        ConfigError: it cannot be read; never shows it, since it may hold a password.
    """
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ConfigError(f"store: the PostgreSQL URL cannot be read, wanted {_FORM}") from None
    if "@" in parts.path or parts.fragment:
        raise ConfigError(f"store: the PostgreSQL URL cannot be read, wanted {_FORM}")
    ours = {name: value for name, value in query if name in _OUR_PARAMETERS}
    theirs = [(name, value) for name, value in query if name not in _OUR_PARAMETERS]
    _check_names(theirs)
    place = ours.get("checkpoints") or os.environ.get(PLACE_VARIABLE) or DEFAULT_PLACE
    checkpoints = Path(place).expanduser().absolute()
    schema = ours.get("schema", DEFAULT_SCHEMA)
    if not _SCHEMA.fullmatch(schema):
        raise ConfigError(f"schema: got {cut(schema)}, wanted lower-case letters, digits and _")
    own_query = [("checkpoints", str(checkpoints))]
    own_query += [("schema", schema)] if schema != DEFAULT_SCHEMA else []
    shown = [(name, value) for name, value in theirs if name not in _SECRET]
    return PostgresUrl(
        url=_joined(_without_password(parts.netloc), parts.path, shown + own_query),
        secret_url=_joined(parts.netloc, parts.path, theirs + own_query),
        conninfo=_conninfo(_joined(parts.netloc, parts.path, theirs)),
        checkpoints=checkpoints,
        schema=schema,
    )


def _check_names(query: list[tuple[str, str]]) -> None:
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()} | {"ssl"}
    for name, _ in query:
        if name not in known:
            raise ConfigError(
                f"store: unknown parameter {cut(name)} of a PostgreSQL URL: wanted "
                f"{' or '.join(_OUR_PARAMETERS)}, or one of libpq, such as sslmode"
            )


def _conninfo(url: str) -> str:
    try:
        given = conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        given = {"port": "?"}
    if not _PORTS.fullmatch(str(given.get("port", ""))):
        raise ConfigError(f"store: the PostgreSQL URL cannot be read, wanted {_FORM}")
    return conninfo.make_conninfo("", **{**_DEFAULTS, **given})


def _without_password(netloc: str) -> str:
    user, at, host = netloc.rpartition("@")
    return f"{user.partition(':')[0]}{at}{host}"


def _joined(netloc: str, path: str, query: list[tuple[str, str]]) -> str:
    text = urlencode(query, safe="/,", quote_via=quote)
    joined = urlunsplit(("postgresql", netloc, path, text, ""))
    return joined if netloc else joined.replace("postgresql:", "postgresql://", 1)

"""Who may use the service: tokens, and the browsers that signed in with one.

A secret is 256 random bits, so the store keeps its plain SHA-256: there is nothing to guess that a
salt or a slow hash would make harder, and whoever reads the store cannot find a secret that fits.
The id of a token is the start of that hash: it may be shown to anybody, and finds the row without
an index over secrets. What decides is the whole hash, compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_args

from evolvent.errors import ConfigError, Unauthenticated, UnknownName
from evolvent.store.sql.database import Database
from evolvent.store.sql.retry import retry
from evolvent.validation import check_choice, check_name, check_number

RoleName: TypeAlias = Literal["viewer", "worker", "admin"]
ROLES: tuple[RoleName, ...] = get_args(RoleName)
"""What a token may be for; each includes those before it."""

_TOKEN, _SESSION = "evt_", "evs_"
_RANDOM_BYTES = 32
_SECRET = re.compile(r"ev[ts]_[A-Za-z0-9_-]{43}")
_ID_LENGTH = 12
_ANOTHER = "ask whoever runs the service for another (`evolvent token create`)"


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; not the token itself, which nobody keeps.

    Attributes:
        id: twelve characters to name it by; no secret.
        hash: SHA-256 of the token, hexadecimal.
        name: for people: whose it is, or what for.
        study: name of the only study that it opens; None for all.
        created_at, expires_at, revoked_at: seconds since 1970 on the store's clock.
    """

    id: str
    hash: str = field(repr=False)
    name: str
    role: RoleName
    study: str | None
    created_at: float
    expires_at: float | None
    revoked_at: float | None = None

    def state(self, now: float) -> Literal["active", "expired", "revoked"]:
        """Return whether it opens anything at a time on the store's clock."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that signed in; counts until it signs out, and no longer than its token."""

    id: str
    hash: str = field(repr=False)
    token: str
    created_at: float
    expires_at: float


_TOKEN_FIELDS = [field.name for field in fields(Token)]
_SESSION_FIELDS = [field.name for field in fields(Session)]
_COLUMNS = ", ".join(f"t.{name}" for name in _TOKEN_FIELDS)

_ADD = """
INSERT INTO token (id, hash, name, role, study, created_at, expires_at)
VALUES (:id, :hash, :name, :role, :study, :created_at, :expires_at)
ON CONFLICT (id) DO NOTHING
"""
_ALL = f"SELECT {_COLUMNS} FROM token t ORDER BY t.created_at, t.id"
_FIND = f"SELECT {_COLUMNS} FROM token t WHERE t.id = :id"
_REVOKE = "UPDATE token SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL"
_SIGN_OUT_ALL = "DELETE FROM session WHERE token = :id"

_DELETE_EXPIRED = "DELETE FROM session WHERE expires_at <= :now"
_SIGN_IN = """
INSERT INTO session (id, hash, token, created_at, expires_at)
VALUES (:id, :hash, :token, :created_at, :expires_at)
ON CONFLICT (id) DO NOTHING
"""
_SIGNED_IN = f"""
SELECT {", ".join(f"s.{name}" for name in _SESSION_FIELDS)}, {_COLUMNS}
FROM session s JOIN token t ON t.id = s.token WHERE s.id = :id
"""
_SIGN_OUT = "DELETE FROM session WHERE id = :id"
_ACTIVE = "t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > :now)"
_ACTIVE_HASHES = f"""
SELECT t.hash FROM token t WHERE {_ACTIVE}
UNION ALL
SELECT s.hash FROM session s JOIN token t ON t.id = s.token WHERE s.expires_at > :now AND {_ACTIVE}
"""


class Tokens:
    """The tokens of one store: made, listed, revoked, and recognised.

    They lie in the database of the studies, so that all services on it know the same. What runs on
    it may be repeated: what is added twice is there once.

    Attributes:
        is_local: whether to look one up takes microseconds, and waits for nothing.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_local = not database.is_remote

    def create(
        self,
        role: RoleName,
        *,
        study: str | None = None,
        name: str | None = None,
        lifetime_s: float | None = None,
    ) -> tuple[str, Token]:
        """Make a token.

        Args:
            role: what it is for.
            study: name of the only study that it opens; None for all.
            name: for people; its id when left out.
            lifetime_s: seconds after which it opens nothing any more; None: until revoked.

        Returns:
            The token, which cannot be had again, and what is kept of it.

        Raises:
            ConfigError: names the argument, what came and what was wanted.
        """
        checked = check_choice("role", role, ROLES)
        secret = _TOKEN + secrets.token_urlsafe(_RANDOM_BYTES)
        id, now = id_of(secret), self.now()
        lasts = None if lifetime_s is None else check_number("expires", lifetime_s, above=0)
        token = Token(
            id=id,
            hash=hash_of(secret),
            name=id if name is None else check_name("name", name),
            role=checked,
            study=None if study is None else check_name("study", study),
            created_at=now,
            expires_at=None if lasts is None else now + lasts,
        )
        self._write((_ADD, asdict(token)), synced=True)
        return secret, token

    def active(self) -> list[Token]:
        """Return the tokens that open something now, the newest last."""
        now = self.now()
        return [token for token in self.list() if token.state(now) == "active"]

    @retry
    def list(self) -> list[Token]:
        """Return every token there ever was, the newest last."""
        with self._database.read() as tx:
            return [Token(*row) for row in tx.execute(_ALL).fetchall()]

    @retry
    def active_hashes(self) -> frozenset[str]:
        """Return `hash_of` every secret, of a token or a browser, that opens something now."""
        with self._database.read() as tx:
            return frozenset(row[0] for row in tx.execute(_ACTIVE_HASHES, {"now": tx.now()}))

    @retry
    def now(self) -> float:
        """Return the clock that tokens expire by."""
        with self._database.read() as tx:
            return tx.now()

    def revoke(self, named: str) -> Token:
        """Make sure that a token opens nothing any more, from this moment; return what it was.

        Args:
            named: its id, or the token itself (of which only the id is used).

        Raises:
            UnknownName: there is none of that id; names those that are active.
        """
        id = id_of(named) if _SECRET.fullmatch(named) else named
        found = self._find(id)
        if found is None:
            ids = [token.id for token in self.active()]
            there = f"there is {', '.join(ids[-5:])}" if ids else "none is active"
            raise UnknownName(f"id: got {id[:_ID_LENGTH]!r}, which no token has: {there}")
        # Also forgets who signed in with it.
        self._write((_REVOKE, {"id": id}), (_SIGN_OUT_ALL, {"id": id}), synced=True)
        return found[0]

    def authenticate(self, secret: str) -> Token:
        """Return what is known of a token.

        Raises:
            Unauthenticated: it is none, or none that opens anything (any more); says which.
        """
        hashed = hash_of(secret)
        found = self._find(hashed[:_ID_LENGTH]) if _SECRET.fullmatch(secret) else None
        if found is None or not hmac.compare_digest(found[0].hash, hashed):
            raise Unauthenticated(f"the token is not known here: {_ANOTHER}")
        token, now = found
        if (state := token.state(now)) != "active":
            raise Unauthenticated(f"token {token.name!r} ({token.id}) is {state}: {_ANOTHER}")
        return token

    def sign_in(self, token: Token, *, lifetime_s: float) -> str:
        """Return a secret that stands for this token in one browser, for so many seconds."""
        secret, now = _SESSION + secrets.token_urlsafe(_RANDOM_BYTES), self.now()
        session = Session(
            id=id_of(secret),
            hash=hash_of(secret),
            token=token.id,
            created_at=now,
            expires_at=now + lifetime_s,
        )
        # Forgets whose time is up, too.
        self._write((_DELETE_EXPIRED, {}), (_SIGN_IN, asdict(session)), synced=False)
        return secret

    def authenticate_session(self, secret: str) -> Token:
        """Return the token that a browser signed in with.

        Raises:
            Unauthenticated: it has signed out, or its time or that of its token is up.
        """
        hashed = hash_of(secret)
        found = self._find_session(hashed[:_ID_LENGTH]) if _SECRET.fullmatch(secret) else None
        if found is not None:
            session, token, now = found
            counts = session.expires_at > now and token.state(now) == "active"
            if counts and hmac.compare_digest(session.hash, hashed):
                return token
        raise Unauthenticated("this browser is signed in no longer: sign in again")

    def sign_out(self, secret: str) -> None:
        """Forget that a browser signed in."""
        self._write((_SIGN_OUT, {"id": id_of(secret)}), synced=False)

    @retry
    def _write(self, *statements: tuple[str, dict[str, Any]], synced: bool) -> None:
        """Run statements as one transaction."""
        with self._database.write(synced=synced) as tx:
            for sql, values in statements:
                tx.execute(sql, {"now": tx.now(), **values})

    @retry
    def _find(self, id: str) -> tuple[Token, float] | None:
        """Return a token, and the store's clock."""
        with self._database.read() as tx:
            row = tx.execute(_FIND, {"id": id}).fetchone()
            return None if row is None else (Token(*row), tx.now())

    @retry
    def _find_session(self, id: str) -> tuple[Session, Token, float] | None:
        """Return who signed in, with which token, and the store's clock."""
        with self._database.read() as tx:
            row = tx.execute(_SIGNED_IN, {"id": id}).fetchone()
            if row is None:
                return None
            n = len(_SESSION_FIELDS)
            return Session(*row[:n]), Token(*row[n:]), tx.now()


def tokens_of(store: Any) -> Tokens:
    """Return the tokens of a store that is on this machine, or in its database.

    Raises:
        ConfigError: the store is a service, which hands out no tokens.
    """
    database = getattr(store, "database", None)
    if database is None:
        raise ConfigError(
            f"store: {store.url} hands out no tokens: run this where the service runs, with the"
            " store that it serves"
        )
    return Tokens(database)


def hash_of(secret: str) -> str:
    """Return what is kept of a secret: SHA-256, hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def looks_like_token(text: str) -> bool:
    """Whether this is written as tokens are, known or not."""
    return text.startswith(_TOKEN) and _SECRET.fullmatch(text) is not None


def id_of(secret: str) -> str:
    """Return the id of a token, known or not."""
    return hash_of(secret)[:_ID_LENGTH]

"""Tokens in the database of the studies, so that all services on it know the same.

Every method may be repeated: what is added twice is there once.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from evolvent.store.sql.database import Database
from evolvent.store.sql.retry import retry
from evolvent.store.tokens import Session, Token

_TOKEN_FIELDS = [field.name for field in fields(Token)]
_SESSION_FIELDS = [field.name for field in fields(Session)]
_TOKEN = ", ".join(f"t.{name}" for name in _TOKEN_FIELDS)

_ADD = """
INSERT INTO token (id, hash, name, role, study, created_at, expires_at)
VALUES (:id, :hash, :name, :role, :study, :created_at, :expires_at)
ON CONFLICT (id) DO NOTHING
"""
_ALL = f"SELECT {_TOKEN} FROM token t ORDER BY t.created_at, t.id"
_FIND = f"SELECT {_TOKEN} FROM token t WHERE t.id = :id"
_REVOKE = "UPDATE token SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL"
_SIGN_OUT_ALL = "DELETE FROM session WHERE token = :id"

_DELETE_EXPIRED = "DELETE FROM session WHERE expires_at <= :now"
_SIGN_IN = """
INSERT INTO session (id, hash, token, created_at, expires_at)
VALUES (:id, :hash, :token, :created_at, :expires_at)
ON CONFLICT (id) DO NOTHING
"""
_SIGNED_IN = f"""
SELECT {", ".join(f"s.{name}" for name in _SESSION_FIELDS)}, {_TOKEN}
FROM session s JOIN token t ON t.id = s.token WHERE s.id = :id
"""
_SIGN_OUT = "DELETE FROM session WHERE id = :id"


class SqlTokens:
    """The tables `token` and `session`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @retry
    def now(self) -> float:
        with self._database.read() as tx:
            return tx.now()

    @retry
    def add(self, token: Token) -> None:
        with self._database.write(synced=True) as tx:
            tx.execute(_ADD, asdict(token))

    @retry
    def all(self) -> list[Token]:
        with self._database.read() as tx:
            return [_token(row) for row in tx.execute(_ALL).fetchall()]

    @retry
    def find(self, id: str) -> tuple[Token, float] | None:
        with self._database.read() as tx:
            row = tx.execute(_FIND, {"id": id}).fetchone()
            return None if row is None else (_token(row), tx.now())

    @retry
    def revoke(self, id: str) -> None:
        with self._database.write(synced=True) as tx:
            tx.execute(_REVOKE, {"id": id, "now": tx.now()})
            tx.execute(_SIGN_OUT_ALL, {"id": id})

    @retry
    def sign_in(self, session: Session) -> None:
        with self._database.write(synced=False) as tx:
            tx.execute(_DELETE_EXPIRED, {"now": session.created_at})
            tx.execute(_SIGN_IN, asdict(session))

    @retry
    def find_session(self, id: str) -> tuple[Session, Token, float] | None:
        with self._database.read() as tx:
            row = tx.execute(_SIGNED_IN, {"id": id}).fetchone()
            if row is None:
                return None
            n = len(_SESSION_FIELDS)
            session = Session(**dict(zip(_SESSION_FIELDS, row[:n], strict=True)))
            return session, _token(row[n:]), tx.now()

    @retry
    def sign_out(self, id: str) -> None:
        with self._database.write(synced=False) as tx:
            tx.execute(_SIGN_OUT, {"id": id})


def _token(row: tuple[Any, ...]) -> Token:
    return Token(**dict(zip(_TOKEN_FIELDS, row, strict=True)))

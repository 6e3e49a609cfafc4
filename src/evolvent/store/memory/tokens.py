"""Tokens in memory, for as long as the studies beside them."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from evolvent.store.tokens import Session, Token


class MemoryTokens:
    """Dicts and a lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: dict[str, Token] = {}
        self._sign_ins: dict[str, Session] = {}

    def now(self) -> float:
        return time.time()

    def add(self, token: Token) -> None:
        with self._lock:
            self._tokens[token.id] = token

    def all(self) -> list[Token]:
        with self._lock:
            return list(self._tokens.values())

    def find(self, id: str) -> tuple[Token, float] | None:
        token = self._tokens.get(id)
        return None if token is None else (token, self.now())

    def revoke(self, id: str) -> None:
        with self._lock:
            token = self._tokens[id]
            if token.revoked_at is None:
                self._tokens[id] = replace(token, revoked_at=self.now())
            self._sign_ins = {k: s for k, s in self._sign_ins.items() if s.token != id}

    def sign_in(self, sign_in: Session) -> None:
        with self._lock:
            now = sign_in.created_at
            self._sign_ins = {k: s for k, s in self._sign_ins.items() if s.expires_at > now}
            self._sign_ins[sign_in.id] = sign_in

    def find_session(self, id: str) -> tuple[Session, Token, float] | None:
        with self._lock:
            sign_in = self._sign_ins.get(id)
            return None if sign_in is None else (sign_in, self._tokens[sign_in.token], self.now())

    def sign_out(self, id: str) -> None:
        with self._lock:
            self._sign_ins.pop(id, None)

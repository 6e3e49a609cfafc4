"""How the statements of the SQL store read on PostgreSQL: all that differs from SQLite is here."""

from __future__ import annotations

import re

from evolvent.store.sql import claim, control, report

CLOCK = "date_part('epoch', clock_timestamp())"
"""Seconds since 1970 on the server's clock."""

# Claims hold no lock but that of the row they take, and step over rows that others are taking; so
# whoever reads a row in order to change it by itself must keep others from it. A claim need not
# reach the disk: should a crash of the server undo it, the job is claimed again. `state` is asked
# twice: in READ COMMITTED the outer condition is checked on the row as it is once it is locked. The
# clock is a subquery, evaluated once, so that the index on leases can be used.
_FAST_CLAIM = f"""
UPDATE member
SET state = 'running', attempt = attempt + 1, worker = :worker, started_at = {CLOCK},
    lease_until = {CLOCK} + :lease_s, claim = :claim
WHERE id = coalesce(
    (SELECT p.id FROM member p
     WHERE p.id = :preferred AND p.state = 'queued' AND p.round = (
        SELECT first.round FROM member first
        WHERE first.study = :study AND first.state = 'queued'
        ORDER BY first.round, first.member LIMIT 1)
     FOR UPDATE SKIP LOCKED),
    (SELECT first.id FROM member first
     WHERE first.study = :study AND first.state = 'queued'
     ORDER BY first.round, first.member LIMIT 1
     FOR UPDATE SKIP LOCKED))
AND state = 'queued' AND cause <> 'undecided'
AND NOT EXISTS (
    SELECT 1 FROM member
    WHERE study = :study AND state = 'running' AND lease_until <= (SELECT {CLOCK}))
AND EXISTS (
    SELECT 1 FROM study WHERE id = :study AND stopped IS NULL AND started_at IS NOT NULL)
AND (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
RETURNING {claim.CLAIMED}
"""

# FOR UPDATE: who reads an expired lease in order to end it waits for a heartbeat that is prolonging
# it, and reads what that has left; a report likewise, or both would count the points at once.
OVERRIDES = {
    claim.FAST_CLAIM: _FAST_CLAIM,
    claim.EXPIRED: f"{claim.EXPIRED} FOR UPDATE OF m",
    claim.PREFERRED: f"{claim.PREFERRED} FOR UPDATE OF m",
    report.HEAD_OF_LEASE: f"{report.HEAD_OF_LEASE} FOR UPDATE OF m",
    control.LOCK_QUEUED: f"{control.LOCK_QUEUED} FOR UPDATE",
}
"""Statements of the store that have a text of their own here."""

_LOCK_TIMEOUT_S = 660.0  # longer than anybody may stay in the middle of something

_TABLE = re.compile(
    r"\b(FROM|JOIN|INTO|UPDATE)\s+"
    r"(study|member|job|point|failure|intervention|pin|place|answer|token|session"
    r"|schema_version)\b"
)
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)\b")


class StatementCache(dict[str, bytes]):
    """Statements as psycopg takes them, each translated once.

    Tables are named with their schema, so that nothing rests on settings of a session, which
    pgbouncer would not keep.
    """

    def __init__(self, schema: str) -> None:
        super().__init__()
        self.schema = schema

    def __missing__(self, sql: str) -> bytes:
        text = OVERRIDES.get(sql, sql).replace("%", "%%")
        text = _TABLE.sub(rf'\1 "{self.schema}".\2', text)
        found = self[sql] = _PARAMETER.sub(r"%(\1)s", text).encode()
        return found


READ = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


def begin_writing(lock: tuple[int, int] | None, *, synced: bool, max_idle_s: float) -> bytes:
    """Return the statements that begin a transaction; the last of them asks for the time.

    Args:
        lock: key of the advisory lock to take first, if any.
        synced: on the server's disk when it is committed; else it survives the death of the client.
        max_idle_s: how long it may stay idle before the server undoes it.
    """
    settings = {"idle_in_transaction_session_timeout": max_idle_s, "lock_timeout": _LOCK_TIMEOUT_S}
    parts = [f"SET LOCAL {name} = {int(1000 * value)}" for name, value in settings.items()]
    # LOCAL settings and a lock of the transaction end with it: pgbouncer may give the connection to
    # another client after each.
    if not synced:
        parts.append("SET LOCAL synchronous_commit = off")
    if lock is not None:
        parts.append(f"SELECT pg_advisory_xact_lock({lock[0]}, {lock[1]})")
    return "; ".join(["BEGIN ISOLATION LEVEL READ COMMITTED", *parts, f"SELECT {CLOCK}"]).encode()

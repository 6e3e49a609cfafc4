"""The bare loop of `store.py` on PostgreSQL: what one would write by hand with psycopg."""

from __future__ import annotations

import json
import random
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from evolvent.core.study import Durability

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

TABLES = """
CREATE SCHEMA {schema};
SET search_path TO {schema};
CREATE TABLE member (
    member INT PRIMARY KEY, round INT, state TEXT, attempt INT, worker TEXT,
    started_at FLOAT8, lease_until FLOAT8, hyperparameters TEXT, parent TEXT, checkpoint TEXT,
    reason TEXT);
CREATE INDEX free ON member (state, round, member);
CREATE TABLE job (
    seq BIGSERIAL PRIMARY KEY, member INT, round INT, attempt INT, worker TEXT,
    score FLOAT8, metrics TEXT, hyperparameters TEXT, parent TEXT, parent_checkpoint TEXT,
    checkpoint TEXT, reason TEXT, started_at FLOAT8, finished_at FLOAT8);
CREATE UNIQUE INDEX of_member ON job (member, round);
INSERT INTO member (member, round, state, attempt, hyperparameters, reason)
SELECT n, 0, 'queued', 0, '{values}', 'drawn from the space' FROM generate_series(0, {last}) n;
"""
NOW = "date_part('epoch', clock_timestamp())"
CLAIM = f"""
UPDATE member
SET state = 'running', attempt = attempt + 1, worker = %s, started_at = {NOW},
    lease_until = {NOW} + 30
WHERE member = (
    SELECT member FROM member WHERE state = 'queued' ORDER BY round, member LIMIT 1
    FOR UPDATE SKIP LOCKED)
RETURNING member, round, attempt, hyperparameters, parent, checkpoint, reason, started_at
"""
MOVE = """
UPDATE member
SET state = 'queued', round = round + 1, attempt = 0, worker = NULL, lease_until = NULL,
    started_at = NULL, hyperparameters = %s, parent = %s, checkpoint = %s, reason = %s
WHERE member = %s AND round = %s AND attempt = %s
"""
APPEND = f"""
INSERT INTO job (member, round, attempt, worker, score, metrics, hyperparameters, parent,
                 parent_checkpoint, checkpoint, reason, started_at, finished_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, {NOW})
"""


def bench(url: str) -> tuple[Callable[..., dict[str, Any]], Callable[..., Any], Callable[..., str]]:
    """Return how the bare loop is made and run on a server, and where our store is."""
    joint = "&" if "?" in url else "?"

    def make_bare(_: str, durability: Durability, members: int) -> dict[str, Any]:
        schema = f"bare_{secrets.token_hex(4)}"
        values = json.dumps({"lr": 0.012345678901234567, "momentum": 0.912345678901234})
        text = TABLES.replace("{schema}", schema).replace("{values}", values)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(text.replace("{last}", str(members - 1)))
        return {"url": url, "schema": schema, "durability": durability}

    def our_url(folder: str) -> str:
        return f"{url}{joint}schema=ours_{secrets.token_hex(4)}&checkpoints={folder}"

    return make_bare, bare_turns, our_url


def bare_turns(url: str, schema: str, durability: Durability, number: int) -> Callable[[int], None]:
    """Return one claim and report of the bare loop; a claim need not be on the disk."""
    connection = psycopg.connect(url, autocommit=True)
    connection.execute(f"SET search_path TO {schema}")
    if durability == "process":
        connection.execute("SET synchronous_commit = off")
    draw = random.Random(number)
    execute, worker, address = connection.execute, f"worker-{number}", "0" * 64
    lazy = "BEGIN; SET LOCAL synchronous_commit = off"

    def turn(_: int) -> None:
        claimed = None
        while claimed is None:
            if durability == "power":
                execute(lazy)
                claimed = execute(CLAIM, (worker,)).fetchone()
                execute("COMMIT")
            else:
                claimed = execute(CLAIM, (worker,)).fetchone()
        member, round_, attempt, text, parent, parent_checkpoint, reason, started_at = claimed
        values, score = json.loads(text), draw.random()
        metrics = json.dumps({"accuracy": score, "loss": 1 - score})
        log = (text, parent, parent_checkpoint, address, reason, started_at)
        head = (json.dumps(values), f"m{member}r{round_}", address, "goes on with its own weights")
        execute("BEGIN; SELECT pg_advisory_xact_lock(1)")
        moved = execute(MOVE, (*head, member, round_, attempt)).rowcount
        assert moved == 1
        execute(APPEND, (member, round_, attempt, worker, score, metrics, *log))
        execute("COMMIT")

    return turn


@contextmanager
def throw_away() -> Iterator[str]:
    """Run a server of our own that syncs as servers do; give its URL."""
    from tests.store.servers import server  # noqa: PLC0415 - only then

    with server(synced=True) as own:
        yield own.url

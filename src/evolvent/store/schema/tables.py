"""The tables, as the newest version has them. A change here needs a migration that leads to it.

Only read when a new file is made: statements are plain SQL, so that workers need not import
SQLAlchemy. Times are seconds since 1970 on the store's clock; JSON is kept as text, because
numbers must come back bit for bit.
"""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

metadata = sa.MetaData()

_JSON = sa.Text
_SECONDS = sa.Double
_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


# Few rows that change all the time: claims would read through what they have been before.
_CLEARED_OFTEN = {
    "autovacuum_vacuum_scale_factor": 0,
    "autovacuum_vacuum_threshold": 500,
    "autovacuum_vacuum_cost_delay": 0,
}


def _study() -> sa.Column[int]:
    return sa.Column("study", sa.Integer, nullable=False)


schema_version = sa.Table(
    "schema_version", metadata, sa.Column("version", sa.Integer, nullable=False)
)

study = sa.Table(
    "study",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    # grows with every change that a report does not make: caches of other processes start anew
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("stopped", sa.Text),
    sa.Column("stopped_by", sa.Text),
    sa.Column("best_member", sa.Integer),
    sa.Column("best_round", sa.Integer),
    sa.Column("best_score", sa.Double),
    sa.Column("best_checkpoint", sa.Text),
    sa.Column("created_at", _SECONDS, nullable=False),
    sa.Column("started_at", _SECONDS),
    sa.Column("record", _JSON, nullable=False),  # last: what lies behind it is slower to reach
    sqlite_autoincrement=True,  # the number of a removed study is never used again
)

# The head of each member: its one open job, or why it has none.
member = sa.Table(
    "member",
    metadata,
    # study * 2**32 + member: one short path to a head
    sa.Column("id", _NUMBER, primary_key=True, autoincrement=False),
    _study(),
    sa.Column("member", sa.Integer, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("hyperparameters", _JSON, nullable=False),
    sa.Column("parent_member", sa.Integer),
    sa.Column("parent_round", sa.Integer),
    sa.Column("checkpoint", sa.Text),  # address of the parent's
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("losses", sa.Integer, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("lease_until", _SECONDS),
    sa.Column("worker", sa.Text),
    sa.Column("started_at", _SECONDS),
    sa.Column("error", sa.Text),
    sa.Column("claim", sa.Text),  # the key of the claim that gave its open job out
    sa.Index("member_by_claim", "claim"),
    sa.Index("member_by_state", "study", "state", "round", "member", "lease_until"),
    sa.Index("member_by_checkpoint", "study", "checkpoint"),
    postgresql_with=_CLEARED_OFTEN,
)

# The log: append-only, its lines numbered from 1 in each study.
job = sa.Table(
    "job",
    metadata,
    # study * 2**32 + line: a log lies together, in order
    sa.Column("id", _NUMBER, primary_key=True, autoincrement=False),
    _study(),
    sa.Column("member", sa.Integer, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("score", sa.Double),
    sa.Column("hyperparameters", _JSON, nullable=False),
    sa.Column("metrics", _JSON, nullable=False),
    sa.Column("checkpoint", sa.Text),
    sa.Column("parent_member", sa.Integer),
    sa.Column("parent_round", sa.Integer),
    sa.Column("parent_checkpoint", sa.Text),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("worker", sa.Text),
    sa.Column("started_at", _SECONDS),
    sa.Column("finished_at", _SECONDS, nullable=False),
    # whether its member goes on from it: known at once, or, at the end of a round, with a new epoch
    sa.Column("kept", sa.Integer, nullable=False),
    sa.Index("job_by_member", "study", "member", "round", unique=True),
    sa.Index(
        "job_failed",
        "study",
        sqlite_where=sa.text("state = 'failed'"),
        postgresql_where=sa.text("state = 'failed'"),
    ),
)

point = sa.Table(
    "point",
    metadata,
    sa.Column("id", _NUMBER, primary_key=True),
    _study(),
    sa.Column("member", sa.Integer, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("step", sa.Double, nullable=False),
    sa.Column("metrics", _JSON, nullable=False),
    sa.Index("point_by_job", "study", "member", "round"),
)

failure = sa.Table(
    "failure",
    metadata,
    sa.Column("id", _NUMBER, primary_key=True),
    _study(),
    sa.Column("member", sa.Integer, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("traceback", sa.Text),
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("at", _SECONDS, nullable=False),
    sa.Index("failure_by_study", "study", "id"),
)

pin = sa.Table(
    "pin",
    metadata,
    _study(),
    sa.Column("member", sa.Integer, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("checkpoint", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("study", "member", "round"),
    sa.Index("pin_by_checkpoint", "study", "checkpoint"),
    sqlite_with_rowid=False,
)

# What was answered to calls with a key, which may be made again when the answer was lost.
answer = sa.Table(
    "answer",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("call", sa.Text, nullable=False),
    sa.Column("told", _JSON, nullable=False),
    sa.Column("at", _SECONDS, nullable=False),
    sa.Index("answer_by_time", "at"),
    sqlite_with_rowid=False,
)

# Who may use the service. The id is the start of the hash, so that a token finds its row.
token = sa.Table(
    "token",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("study", sa.Text),
    sa.Column("created_at", _SECONDS, nullable=False),
    sa.Column("expires_at", _SECONDS),
    sa.Column("revoked_at", _SECONDS),
)

# Browsers that signed in with a token, and count for no longer than it does.
session = sa.Table(
    "session",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("token", sa.Text, nullable=False),
    sa.Column("created_at", _SECONDS, nullable=False),
    sa.Column("expires_at", _SECONDS, nullable=False),
    sa.Index("session_by_token", "token"),
)


# One row: under which name the checkpoints of this store lie, and where they were first made.
place = sa.Table(
    "place",
    metadata,
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("made_at", sa.Text),
    info={"only": "postgres"},  # beside a SQLite file there is no doubt
)


def statements(kind: Literal["sqlite", "postgres"]) -> list[str]:
    """Return the statements that make all tables and indexes in this dialect."""
    dialect = {"sqlite": sqlite.dialect, "postgres": postgresql.dialect}[kind]()
    made: list[sa.schema.ExecutableDDLElement] = []
    for table in metadata.sorted_tables:
        if table.info.get("only", kind) != kind:
            continue
        made.append(sa.schema.CreateTable(table))
        made += map(sa.schema.CreateIndex, sorted(table.indexes, key=lambda i: str(i.name)))
    return [str(statement.compile(dialect=dialect)).strip() for statement in made]

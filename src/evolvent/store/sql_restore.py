"""A whole study written into a SQL store: one transaction, from a file that was filled before."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress

from evolvent.core.records import JobId
from evolvent.errors import EvolventError, StudyExists
from evolvent.store.checkpoints import Checkpoints
from evolvent.store.dump import StudyDump
from evolvent.store.incoming import Save, discarded, incoming, settle
from evolvent.store.once import Call
from evolvent.store.sql_database import Transaction, Writing
from evolvent.store.sql_once import answered, once
from evolvent.store.sql_rows import LINES, clean, clean_or_none, encode
from evolvent.store.sql_session import Session
from evolvent.store.sql_stage import stage

_STUDY = """
INSERT INTO study (name, record, epoch, stopped, stopped_by, created_at, started_at)
VALUES (:name, :record, 0, :stopped, :stopped_by, :created_at, :started_at)
ON CONFLICT (name) DO NOTHING
RETURNING id
"""
_COPIES = {
    "member": (
        """
        SELECT :begin + member AS id, :study AS study, member, round, state, hyperparameters,
               parent_member, parent_round, checkpoint, reason, attempt, losses, failures,
               started_at, error
        FROM member
        """
    ),
    "job": (
        """
        SELECT :begin + line AS id, :study AS study, member, round, state, score, hyperparameters,
               metrics, checkpoint, parent_member, parent_round, parent_checkpoint, attempt,
               reason, error, worker, started_at, finished_at, kept
        FROM job ORDER BY line
        """
    ),
    "point": (
        """
        SELECT :study AS study, p.member AS member, p.round AS round,
               coalesce(j.attempt, m.attempt) AS attempt, p.step AS step, p.metrics AS metrics
        FROM point p LEFT JOIN job j ON j.member = p.member AND j.round = p.round
        JOIN member m ON m.member = p.member ORDER BY p.id
        """
    ),
    "failure": (
        """
        SELECT :study AS study, member, round, attempt, kind, message, traceback, worker, at
        FROM failure ORDER BY id
        """
    ),
    "pin": (
        """
        SELECT :study AS study, p.member AS member, p.round AS round, j.checkpoint AS checkpoint
        FROM pin p JOIN job j ON j.member = p.member AND j.round = p.round
        """
    ),
}
"""How each table is filled; the names of the columns are the same here and there."""

_BEST = """
SELECT member, round, score, checkpoint FROM job WHERE state = 'done'
ORDER BY score DESC, round, member LIMIT 1
"""
_NOTE_BEST = """
UPDATE study
SET best_member = :member, best_round = :round, best_score = :score, best_checkpoint = :checkpoint
WHERE id = :study
"""
_THERE = "SELECT 1 FROM study WHERE id = :study"
_PARENTS = """
SELECT parent_member, parent_round, checkpoint FROM member
WHERE checkpoint IS NOT NULL ORDER BY member
"""


def restore(session: Session, dump: StudyDump, save: Save, key: str | None) -> int:
    """Write a study with its checkpoints; return its number.

    With a `key` that was given before it is the number of then, also when that call is still at it.

    Raises:
        StudyExists: the name is taken.
    """
    if (done := _done(session, dump, key)) is not None:
        return done
    record = dump.record
    synced = record.durability == "power"
    session.database.found_checkpoints()
    with incoming(session.directory) as place, stage(place / "log.db", dump) as staged:
        checkpoints = Checkpoints(place / "checkpoints", sync=synced)
        save(checkpoints)
        lost = _missing(staged, checkpoints)
        return _write(session, dump, staged, checkpoints, lost, key)


def _write(
    session: Session,
    dump: StudyDump,
    staged: sqlite3.Connection,
    checkpoints: Checkpoints,
    lost: Sequence[JobId],
    key: str | None,
) -> int:
    made: list[int] = []

    def make() -> int:
        study = _create(tx, dump, lost)
        made.append(study)
        _copy(tx, staged, study)
        settle(checkpoints, session.place(dump.record.name, study))
        return study

    try:
        with session.database.write(synced=checkpoints.sync) as tx:
            return once(tx, key, _call(dump), make)
    except BaseException:
        for study in made:
            _clear(session, study, dump.record.name)
        raise


def _create(tx: Transaction, dump: StudyDump, lost: Sequence[JobId]) -> int:
    record = dump.record
    stopped, stopped_by = dump.stopped_for(lost)
    values = {
        "name": clean(record.name),
        "record": encode(record.to_json()),
        "stopped": clean_or_none(stopped),
        "stopped_by": stopped_by,
        "created_at": dump.created_at,
        "started_at": dump.started_at,
    }
    row = tx.execute(_STUDY, values).fetchone()
    if row is None:
        raise StudyExists(f"name: there is a study {record.name!r} already: choose another name")
    study: int = row[0]
    return study


def _copy(tx: Writing, staged: sqlite3.Connection, study: int) -> None:
    values = {"study": study, "begin": study * LINES}
    for table, read in _COPIES.items():
        rows = staged.execute(read, values)
        tx.fill(table, [column[0] for column in rows.description], rows)
    best = staged.execute(_BEST).fetchone()
    if best is not None:
        names = ("member", "round", "score", "checkpoint")
        tx.execute(_NOTE_BEST, {"study": study, **dict(zip(names, best, strict=True))})


def _call(dump: StudyDump) -> Call:
    """Return what tells a restore from others, without going through the whole log for it."""
    return Call("restore", dump.record, dump.created_at)


def _done(session: Session, dump: StudyDump, key: str | None) -> int | None:
    """Return the number that an earlier call of this key has made, before hours of copying."""
    if key is None:
        return None
    with session.database.read() as tx:
        return answered(tx, key, _call(dump))


def _clear(session: Session, study: int, name: str) -> None:
    """Remove what had been moved to the place of a study that was not committed."""
    with suppress(EvolventError, OSError), session.database.alone(study) as tx:
        if tx.execute(_THERE, {"study": study}).fetchone() is None:
            discarded(session.place(name, study))


def _missing(staged: sqlite3.Connection, checkpoints: Checkpoints) -> list[JobId]:
    gone = (JobId(m, r) for m, r, address in staged.execute(_PARENTS) if address not in checkpoints)
    return list(dict.fromkeys(gone))

"""A whole study written into a SQL store: one transaction, from a file that was filled before."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from evolvent.core.study import StudyRecord, mean_score
from evolvent.errors import EvolventError
from evolvent.store.checkpoints import files
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.checkpoints.transfer import CheckpointWriter, publish_dir, staging_area
from evolvent.store.dump import JobPoint, MemberDump, StudyDump
from evolvent.store.records import JOB_COLUMNS
from evolvent.store.sql import rows
from evolvent.store.sql.advance import WRITE_BEST
from evolvent.store.sql.control import insert_study
from evolvent.store.sql.database import Writing
from evolvent.store.sql.dump import missing
from evolvent.store.sql.idempotency import find_answer, fingerprint, run_idempotent
from evolvent.store.sql.rows import ID_STRIDE, HeadRow, Row
from evolvent.store.sql.session import DatabaseSession
from evolvent.store.sqlite.database import SqliteTransaction
from evolvent.store.sqlite.location import translate_error

_MEMBER, _JOB = ", ".join(HeadRow._fields), ", ".join(JOB_COLUMNS)
_READ_STAGED = {
    "member": f"SELECT :begin + member AS id, :study AS study, {_MEMBER} FROM member",
    "job": f"SELECT :begin + line AS id, :study AS study, {_JOB} FROM job ORDER BY line",
    "point": """
        SELECT :study AS study, p.member AS member, p.round AS round,
               coalesce(j.attempt, m.attempt) AS attempt, p.step AS step, p.metrics AS metrics
        FROM point p LEFT JOIN job j ON j.member = p.member AND j.round = p.round
        JOIN member m ON m.member = p.member ORDER BY p.line
    """,
    "failure": f"SELECT :study AS study, {rows.FAILURE} FROM failure ORDER BY line",
    "intervention": f"SELECT :study AS study, {rows.INTERVENTION} FROM intervention ORDER BY line",
    "pin": """
        SELECT :study AS study, p.member AS member, p.round AS round, j.checkpoint AS checkpoint
        FROM pin p JOIN job j ON j.member = p.member AND j.round = p.round
    """,
}
"""How each table is filled; the names of the columns are the same here and there."""
_BEST = """
SELECT member, round, score, 1, checkpoint FROM job WHERE state = 'done'
ORDER BY score DESC, round, member LIMIT 1
"""
_BEST_BY_MEAN = """
WITH RECURSIVE line (member, round, checkpoint, score, parent_member, parent_round, age) AS (
    SELECT member, round, checkpoint, score, parent_member, parent_round, 1
    FROM job WHERE state = 'done'
    UNION ALL
    SELECT line.member, line.round, line.checkpoint,
           j.score, j.parent_member, j.parent_round, line.age + 1
    FROM line JOIN job j ON j.member = line.parent_member AND j.round = line.parent_round
    WHERE line.age < :window
)
SELECT member, round, mean_score(score) AS mean, count(*) AS n_scores, checkpoint
FROM line GROUP BY member, round, checkpoint
ORDER BY n_scores DESC, mean DESC, round, member LIMIT 1
"""
_STUDY_EXISTS = "SELECT 1 FROM study WHERE id = :study"
_PARENTS = """
SELECT parent_member, parent_round, checkpoint FROM member
WHERE checkpoint IS NOT NULL ORDER BY member
"""
_TABLES = (
    f"CREATE TABLE member ({_MEMBER}, PRIMARY KEY (member))",
    f"CREATE TABLE job (line INTEGER PRIMARY KEY, {_JOB})",
    "CREATE UNIQUE INDEX job_by_member ON job (member, round)",
    "CREATE TABLE point (line INTEGER PRIMARY KEY, member, round, step, metrics)",
    f"CREATE TABLE failure (line INTEGER PRIMARY KEY, {rows.FAILURE})",
    f"CREATE TABLE intervention (line INTEGER PRIMARY KEY, {rows.INTERVENTION})",
    "CREATE TABLE pin (member, round)",
)
_SOURCE = """
(SELECT checkpoint FROM job p WHERE p.member = {0}.parent_member AND p.round = {0}.parent_round)
"""
_DERIVED = (
    f"UPDATE job SET parent_checkpoint = {_SOURCE.format('job')} WHERE parent_member IS NOT NULL",
    f"UPDATE member SET checkpoint = {_SOURCE.format('member')} WHERE parent_member IS NOT NULL",
    """
    UPDATE member SET own_checkpoint = (
        SELECT checkpoint FROM job j WHERE j.member = member.member AND j.round = member.round - 1)
    WHERE checkpoint IS NOT NULL
    """,
    "UPDATE member SET own_checkpoint = NULL WHERE own_checkpoint = checkpoint",
)


def restore(
    session: DatabaseSession, dump: StudyDump, save: CheckpointWriter, key: str | None
) -> int:
    """Write a study with its checkpoints; return its number.

    With a `key` that was given before it is the number of then, also when that call is still at it.

    Raises:
        StudyExists: the name is taken.
    """
    # What tells it from others, without going through the whole log for it.
    call = fingerprint("restore", dump.record, dump.created_at)
    if key is not None:  # looked up before hours of copying
        with session.database.read() as tx:
            before: int | None = find_answer(tx, key, call)
        if before is not None:
            return before
    synced = session.database.durable and dump.record.durability == "power"
    session.database.ensure_checkpoint_root()
    with (
        staging_area(session.database.checkpoints) as folder,
        stage(folder / "log.db", dump) as staged,
    ):
        checkpoints = LocalCheckpoints(folder / "checkpoints", sync=synced)
        save(checkpoints)
        return _write(session, dump, staged, checkpoints, key, call)


def _write(
    session: DatabaseSession,
    dump: StudyDump,
    staged: sqlite3.Connection,
    checkpoints: LocalCheckpoints,
    key: str | None,
    call: str,
) -> int:
    created: list[int] = []
    stopped, stopped_by = dump.stopped_for(missing(staged.execute(_PARENTS), checkpoints))

    def create() -> int:
        study = insert_study(
            tx,
            dump.record,
            created_at=dump.created_at,
            started_at=dump.started_at,
            stopped=stopped,
            stopped_by=stopped_by,
        )
        created.append(study)
        _copy(tx, staged, study)
        _write_best(tx, staged, study, dump.record)
        # Last, and before the commit: a study that can be seen has its checkpoints.
        publish_dir(checkpoints, session.checkpoint_dir(dump.record.name, study))
        return study

    try:
        with session.database.write(synced=checkpoints.sync) as tx:
            return run_idempotent(tx, key, call, create)
    except BaseException:
        # Nobody else knows this number, but an answer that got lost may have been committed.
        for study in created:
            _clear(session, study, dump.record.name)
        raise


def _copy(tx: Writing, staged: sqlite3.Connection, study: int) -> None:
    values = {"study": study, "begin": study * ID_STRIDE}
    for table, read in _READ_STAGED.items():
        found = staged.execute(read, values)
        tx.fill(table, [column[0] for column in found.description], found)


def _write_best(tx: Writing, staged: sqlite3.Connection, study: int, record: StudyRecord) -> None:
    if record.best_window == 1:
        best = staged.execute(_BEST).fetchone()
    else:
        staged.create_aggregate("mean_score", 1, _MeanScore)  # type: ignore[arg-type]  # it is one
        best = staged.execute(_BEST_BY_MEAN, {"window": record.best_window}).fetchone()
    if best is not None:
        names = ("member", "round", "score", "n_scores", "checkpoint")
        tx.execute(WRITE_BEST, {"study": study, **dict(zip(names, best, strict=True))})


class _MeanScore:
    """`mean_score` for SQL."""

    def __init__(self) -> None:
        self._scores: list[float] = []

    def step(self, score: float) -> None:
        self._scores.append(score)

    def finalize(self) -> float:
        return mean_score(self._scores)


def _clear(session: DatabaseSession, study: int, name: str) -> None:
    """Remove what had been moved to the place of a study that was not committed."""
    with suppress(EvolventError, OSError), session.database.exclusive(study) as tx:
        if tx.execute(_STUDY_EXISTS, {"study": study}).fetchone() is None:
            files.remove(session.checkpoint_dir(name, study))


@contextmanager
def stage(path: Path, dump: StudyDump) -> Iterator[sqlite3.Connection]:
    """Write a dump into a new database at `path`, with what follows from it.

    Raises:
        StoreError: it cannot be written, or tells of a job or member twice.
    """
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as staged:
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
                staged.execute(f"PRAGMA {pragma}")
            staged.execute("BEGIN")
            for statement in _TABLES:
                staged.execute(statement)
            _fill(staged, dump)
            for statement in _DERIVED:
                staged.execute(statement)
            staged.execute("COMMIT")
            yield staged
    except sqlite3.Error as e:
        raise translate_error(e, path) from e


def _fill(staged: sqlite3.Connection, dump: StudyDump) -> None:
    fill = SqliteTransaction(staged).fill
    fill("member", HeadRow._fields, map(_head_row, dump.members))
    fill("job", JOB_COLUMNS, map(rows.job_row, dump.jobs))
    fill("point", ("member", "round", "step", "metrics"), map(_point, dump.points))
    fill("failure", rows.FAILURE_COLUMNS, map(rows.failure_row, dump.failures))
    done = map(rows.intervention_row, dump.interventions)
    fill("intervention", rows.INTERVENTION_COLUMNS, done)
    fill("pin", ("member", "round"), ((job.member, job.round) for job in dump.pins))


def _head_row(member: MemberDump) -> HeadRow:
    return HeadRow(
        **rows.head_values(member.head),
        member=member.head.member,
        checkpoint=None,  # follows from its parent, and the other from the log
        own_checkpoint=None,
        attempt=member.attempt,
        losses=member.losses,
        failures=member.failures,
        worker=None,
        started_at=member.started_at,
        lease_until=None,
        error=rows.storable(member.error),
    )


def _point(logged: JobPoint) -> Row:
    job, point = logged.job, logged.point
    return job.member, job.round, point.step, rows.encode(dict(point.values))

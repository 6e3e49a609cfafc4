"""A study on its way into a SQL store, in a file of its own: nobody else waits while it fills."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from evolvent.core.records import JobId, JobRecord
from evolvent.store.dump import JobPoint, MemberDump, StudyDump
from evolvent.store.records import FailedAttempt
from evolvent.store.sql_rows import clean, clean_or_none, encode
from evolvent.store.sqlite_place import explained

_TABLES = """
CREATE TABLE member (
    member INTEGER PRIMARY KEY, round, state, hyperparameters, parent_member, parent_round, reason,
    attempt, losses, failures, started_at, error, checkpoint);
CREATE TABLE job (
    line INTEGER PRIMARY KEY, member, round, state, score, hyperparameters, metrics, checkpoint,
    parent_member, parent_round, attempt, reason, error, worker, started_at, finished_at,
    parent_checkpoint, kept);
CREATE UNIQUE INDEX job_by_member ON job (member, round);
CREATE TABLE point (id INTEGER PRIMARY KEY, member, round, step, metrics);
CREATE TABLE failure (
    id INTEGER PRIMARY KEY, member, round, attempt, kind, message, traceback, worker, at);
CREATE TABLE pin (member, round)
"""
_SOURCE = """
(SELECT checkpoint FROM job p WHERE p.member = {0}.parent_member AND p.round = {0}.parent_round)
"""
_DERIVED = (
    f"UPDATE job SET parent_checkpoint = {_SOURCE.format('job')} WHERE parent_member IS NOT NULL",
    f"UPDATE member SET checkpoint = {_SOURCE.format('member')} WHERE parent_member IS NOT NULL",
    """
    UPDATE job SET kept = coalesce(
        (SELECT n.parent_member = job.member AND n.parent_round = job.round
         FROM job n WHERE n.member = job.member AND n.round = job.round + 1),
        (SELECT h.parent_member = job.member AND h.parent_round = job.round
         FROM member h WHERE h.member = job.member),
        0)
    """,
)


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
            for statement in _TABLES.split(";\n"):
                staged.execute(statement)
            _fill(staged, dump)
            for statement in _DERIVED:
                staged.execute(statement)
            staged.execute("COMMIT")
            yield staged
    except sqlite3.Error as e:
        raise explained(e, path) from e


def _fill(staged: sqlite3.Connection, dump: StudyDump) -> None:
    _insert(staged, "member", 12, map(_member, dump.members), ", NULL")
    _insert(staged, "job", 15, map(_job, dump.jobs), ", NULL, NULL", first="NULL, ")
    _insert(staged, "point", 4, map(_point, dump.points), first="NULL, ")
    _insert(staged, "failure", 8, map(_failure, dump.failures), first="NULL, ")
    _insert(staged, "pin", 2, ((job.member, job.round) for job in dump.pins))


def _insert(
    staged: sqlite3.Connection,
    table: str,
    n_values: int,
    rows: Iterable[tuple[Any, ...]],
    last: str = "",
    *,
    first: str = "",
) -> None:
    marks = ", ".join("?" * n_values)
    staged.executemany(f"INSERT INTO {table} VALUES ({first}{marks}{last})", rows)


def _member(member: MemberDump) -> tuple[Any, ...]:
    head = member.head
    return (
        head.member,
        head.round,
        head.state.value,
        encode(dict(head.hyperparameters)),
        *_parent(head.parent),
        clean(head.reason),
        member.attempt,
        member.losses,
        member.failures,
        member.started_at,
        clean_or_none(member.error),
    )


def _job(job: JobRecord) -> tuple[Any, ...]:
    return (
        job.member,
        job.round,
        job.state.value,
        job.score,
        encode(dict(job.hyperparameters)),
        encode(dict(job.metrics)),
        job.checkpoint,
        *_parent(job.parent),
        job.attempt,
        clean(job.reason),
        clean_or_none(job.error),
        clean_or_none(job.worker),
        job.started_at,
        job.finished_at,
    )


def _point(logged: JobPoint) -> tuple[Any, ...]:
    job, point = logged.job, logged.point
    return job.member, job.round, point.step, encode(dict(point.values))


def _failure(failed: FailedAttempt) -> tuple[Any, ...]:
    failure = failed.failure
    return (
        failed.job.member,
        failed.job.round,
        failed.attempt,
        failure.kind.value,
        clean(failure.message),
        clean_or_none(failure.traceback),
        clean(failed.worker),
        failed.at,
    )


def _parent(parent: JobId | None) -> tuple[int | None, int | None]:
    return (None, None) if parent is None else (parent.member, parent.round)

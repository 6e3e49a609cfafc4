"""The reading half of the SQL store: each method is one snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.store import sql_read
from evolvent.store.records import FailedAttempt, JobColumn, MemberView, Point
from evolvent.store.sql_again import again
from evolvent.store.sql_database import Database
from evolvent.store.sql_session import Session


class SqlReading:
    """What a study's log tells; see `store.protocol`."""

    def __init__(self, database: Database) -> None:
        self._session = Session(database)

    @again
    def jobs(
        self,
        study: int,
        *,
        states: Iterable[JobState] | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> list[JobRecord]:
        with self._session.read(study) as (tx, record):
            return sql_read.jobs(
                tx, study, rounds=record.rounds, states=states, after=after, limit=limit
            )

    @again
    def scan(
        self,
        study: int,
        columns: Sequence[JobColumn],
        *,
        after: int = 0,
        limit: int | None = None,
    ) -> list[tuple[Any, ...]]:
        with self._session.read(study) as (tx, _):
            return sql_read.scan(tx, study, columns, after=after, limit=limit)

    @again
    def job(self, study: int, job: JobId) -> JobRecord:
        with self._session.read(study) as (tx, record):
            return sql_read.job(tx, study, job, rounds=record.rounds)

    @again
    def members(self, study: int) -> list[MemberView]:
        with self._session.read(study) as (tx, record):
            return sql_read.members(tx, study, rounds=record.rounds)

    @again
    def lineage(self, study: int, job: JobId) -> list[JobRecord]:
        with self._session.read(study) as (tx, record):
            return sql_read.lineage(tx, study, job, rounds=record.rounds)

    @again
    def points(self, study: int, job: JobId) -> list[Point]:
        with self._session.read(study) as (tx, record):
            return sql_read.points(tx, study, job, rounds=record.rounds)

    @again
    def points_of(self, study: int, member: int) -> list[tuple[int, float, str]]:
        with self._session.read(study) as (tx, _):
            return sql_read.points_of(tx, study, member)

    @again
    def failures(self, study: int, *, limit: int = 100) -> list[FailedAttempt]:
        with self._session.read(study) as (tx, _):
            return sql_read.failures(tx, study, limit=limit)

    @again
    def pins(self, study: int) -> list[JobId]:
        with self._session.read(study) as (tx, _):
            return sql_read.pins(tx, study)

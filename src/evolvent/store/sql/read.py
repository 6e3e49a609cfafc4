"""Reading a SQL store: the log, the heads, and how studies stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from evolvent.core.heads import HeadState
from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.core.study import StudyRecord
from evolvent.errors import UnknownJob
from evolvent.store.interventions import Intervention
from evolvent.store.records import (
    JOB_COLUMNS,
    FailedAttempt,
    JobColumn,
    MemberView,
    Point,
    StudyState,
    StudyStatus,
    named,
)
from evolvent.store.sql import rows
from evolvent.store.sql.database import NO_LIMIT, Transaction
from evolvent.store.sql.retry import retry
from evolvent.store.sql.rows import ID_STRIDE, HeadRow, Row, StudyRow
from evolvent.store.sql.session import DatabaseSession, unknown_study

_STUDIES = f"SELECT s.id, s.record, s.created_at, {rows.STUDY_WITHOUT_LOG} FROM study s"
_COUNT = """
SELECT state, round < :rounds, count(*),
       sum(CASE WHEN state = 'running' AND lease_until <= :now THEN 1 ELSE 0 END)
FROM member WHERE study = :study
GROUP BY state, round < :rounds
"""
_FINISHED = """
SELECT id - :begin, finished_at,
       (SELECT count(*) FROM job WHERE study = :study AND state = 'failed')
FROM job WHERE id > :begin AND id < :end ORDER BY id DESC LIMIT 1
"""
_ACTIVE = """
SELECT EXISTS (SELECT 1 FROM member WHERE study = :study AND state = 'queued')
    OR EXISTS (SELECT 1 FROM member WHERE study = :study AND state = 'running')
"""
_WAITS = "SELECT EXISTS (SELECT 1 FROM member WHERE study = :study AND state = 'waiting')"
_HEALTHY = """
SELECT EXISTS (
    SELECT 1 FROM member m JOIN job j
    ON j.study = m.study AND j.member = m.member AND j.round = m.round - 1
    WHERE m.study = :study AND j.state = 'done'
)
"""
_LOG_AFTER = f"SELECT {rows.JOB} FROM job j WHERE j.id > :after AND j.id < :end"
_NEWEST = f"""
SELECT {rows.JOB} FROM member m JOIN job j
ON j.study = m.study AND j.member = m.member AND j.round = m.round - 1
WHERE m.study = :study
"""
_ONE = f"""
SELECT {rows.JOB} FROM job j WHERE j.study = :study AND j.member = :member AND j.round = :round
"""
_ONE_HEAD = f"""
SELECT {rows.HEAD} FROM member m WHERE m.study = :study AND m.member = :member AND m.round = :round
"""
_ANCESTORS = f"""
WITH RECURSIVE line (member, round, age) AS (
    SELECT member, round, 0 FROM job
    WHERE study = :study AND member = :member AND round = :round
    UNION ALL
    SELECT j.parent_member, j.parent_round, line.age + 1 FROM line JOIN job j
    ON j.study = :study AND j.member = line.member AND j.round = line.round
    WHERE j.parent_member IS NOT NULL
)
SELECT {rows.JOB} FROM line JOIN job j
ON j.study = :study AND j.member = line.member AND j.round = line.round
ORDER BY line.age DESC
"""
_POINTS = """
SELECT step, metrics FROM point
WHERE study = :study AND member = :member AND round = :round AND attempt = :attempt ORDER BY id
"""
_POINTS_OF = """
SELECT p.round, p.step, p.metrics, p.id FROM point p JOIN job j
ON j.study = p.study AND j.member = p.member AND j.round = p.round AND j.attempt = p.attempt
WHERE p.study = :study AND p.member = :member
UNION ALL
SELECT p.round, p.step, p.metrics, p.id FROM point p JOIN member m
ON m.study = p.study AND m.member = p.member AND m.round = p.round AND m.attempt = p.attempt
WHERE p.study = :study AND p.member = :member
ORDER BY 1, 4
"""
_FINAL = frozenset({JobState.DONE, JobState.FAILED})
_AT_WORK = frozenset({HeadState.QUEUED, HeadState.RUNNING})
_COLUMN_SQL = {column: f"j.{column}" for column in JOB_COLUMNS}
_FAILURES = f"SELECT {rows.FAILURE} FROM failure WHERE study = :study ORDER BY id DESC LIMIT :limit"
_INTERVENTIONS = f"""
SELECT {rows.INTERVENTION} FROM intervention WHERE study = :study ORDER BY id DESC LIMIT :limit
"""
_PINS = "SELECT member, round FROM pin WHERE study = :study ORDER BY member, round"


class SqlReader:
    """What a SQL store tells about its studies, each method from one snapshot."""

    def __init__(self, session: DatabaseSession) -> None:
        self._session = session

    @retry
    def status(self, study: int) -> StudyStatus:
        found = self._statuses(" WHERE s.id = :study", study)
        if not found:
            raise unknown_study(study)
        return found[0]

    @retry
    def find_study(self, name: str) -> StudyStatus:
        return named(name, self.studies(), url=self._session.database.url)

    @retry
    def studies(self) -> list[StudyStatus]:
        return self._statuses(" ORDER BY s.id")

    @retry
    def jobs(
        self,
        study: int,
        *,
        states: Iterable[JobState] | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> list[JobRecord]:
        wanted = frozenset(JobState if states is None else states)
        most = NO_LIMIT if limit is None else max(0, limit)
        with self._session.read(study) as (tx, record):
            found = _finished(tx, study, wanted, after=after, limit=most)
            heads = _open(tx, study, wanted, rounds=record.rounds)
            return [*found, *islice(heads, most - len(found))]

    @retry
    def scan(
        self, study: int, columns: Sequence[JobColumn], *, after: int = 0, limit: int | None = None
    ) -> list[Row]:
        names = ", ".join(_COLUMN_SQL[column] for column in columns)
        values = {**rows.id_range(study), "after": study * ID_STRIDE + after}
        values["limit"] = NO_LIMIT if limit is None else limit
        sql = f"SELECT {names} FROM job j WHERE j.id > :after AND j.id < :end ORDER BY j.id"
        with self._session.read(study) as (tx, _):
            return tx.execute(f"{sql} LIMIT :limit", values).fetchall()

    @retry
    def job(self, study: int, job: JobId) -> JobRecord:
        with self._session.read(study) as (tx, record):
            return _job(tx, study, job, rounds=record.rounds)

    @retry
    def members(self, study: int) -> list[MemberView]:
        values = {"study": study}
        with self._session.read(study) as (tx, record):
            newest = {row[0]: rows.finished_job(row) for row in tx.execute(_NEWEST, values)}
            heads = map(HeadRow._make, tx.execute(rows.HEADS, values).fetchall())
        return [
            MemberView(
                newest.get(head.member),
                rows.open_job(head, rounds=record.rounds) if head.state in _AT_WORK else None,
            )
            for head in heads
        ]

    @retry
    def lineage(self, study: int, job: JobId) -> list[JobRecord]:
        with self._session.read(study) as (tx, record):
            last = _job(tx, study, job, rounds=record.rounds)
            if last.parent is None:
                return [last]
            values = {"study": study, "member": last.parent.member, "round": last.parent.round}
            return [*map(rows.finished_job, tx.execute(_ANCESTORS, values)), last]

    @retry
    def points(self, study: int, job: JobId) -> list[Point]:
        values = {"study": study, "member": job.member, "round": job.round}
        with self._session.read(study) as (tx, record):
            attempt = _job(tx, study, job, rounds=record.rounds).attempt
            found = tx.execute(_POINTS, {**values, "attempt": attempt})
            return [Point(step, rows.decode(metrics)) for step, metrics in found]

    @retry
    def points_of(self, study: int, member: int) -> list[tuple[int, float, str]]:
        with self._session.read(study) as (tx, _):
            return [row[:3] for row in tx.execute(_POINTS_OF, {"study": study, "member": member})]

    @retry
    def failures(self, study: int, *, limit: int = 100) -> list[FailedAttempt]:
        with self._session.read(study) as (tx, _):
            found = tx.execute(_FAILURES, {"study": study, "limit": max(0, limit)}).fetchall()
        return list(map(rows.failed_attempt, reversed(found)))

    @retry
    def interventions(self, study: int, *, limit: int | None = None) -> list[Intervention]:
        most = NO_LIMIT if limit is None else max(0, limit)
        with self._session.read(study) as (tx, _):
            found = tx.execute(_INTERVENTIONS, {"study": study, "limit": most}).fetchall()
        return list(map(rows.intervention, reversed(found)))

    @retry
    def pins(self, study: int) -> list[JobId]:
        with self._session.read(study) as (tx, _):
            return [JobId(member, round_) for member, round_ in tx.execute(_PINS, {"study": study})]

    def _statuses(self, where: str, study: int | None = None) -> list[StudyStatus]:
        database = self._session.database
        with database.read() as tx:
            # Before all else: a lease that is prolonged meanwhile must not seem to have ended.
            at = tx.now() if (frozen_at := database.frozen_at()) is None else frozen_at
            found = tx.execute(_STUDIES + where, {"study": study}).fetchall()
            decoded = self._session.decode_record
            return [_status(tx, row, decoded(row[0], row[1]), at) for row in found]


def study_state(tx: Transaction, study: int, row: StudyRow) -> StudyState:
    """Return where a study stands: nobody waits for a member that can never go on."""
    values = {"study": study}
    # A decision that failed leaves members that wait for it to be taken again.
    waits = row.stopped_by == "decision" and tx.execute(_WAITS, values).fetchone()[0]
    if not waits and not tx.execute(_ACTIVE, values).fetchone()[0]:
        healthy = tx.execute(_HEALTHY, {"study": study}).fetchone()[0]
        return StudyState.FINISHED if healthy else StudyState.FAILED
    return StudyState.OPEN if row.stopped is None else StudyState.STOPPED


def _job(tx: Transaction, study: int, wanted: JobId, *, rounds: int) -> JobRecord:
    values = {"study": study, "member": wanted.member, "round": wanted.round}
    row = tx.execute(_ONE, values).fetchone()
    if row is not None:
        return rows.finished_job(row)
    row = tx.execute(_ONE_HEAD, values).fetchone()
    found = None if row is None else rows.open_job(HeadRow._make(row), rounds=rounds)
    if found is None:
        raise UnknownJob(f"no job {wanted} in study {study}: wanted a finished or open one")
    return found


def _status(tx: Transaction, row: Row, record: StudyRecord, at: float) -> StudyStatus:
    study, _, created_at = row[:3]
    current = StudyRow(*row[3:])
    counts, n_members, n_lost = _counts(tx, study, record, at)
    last = tx.execute(_FINISHED, rows.id_range(study)).fetchone()
    n_finished, changed_at, n_failed = (0, None, 0) if last is None else last
    finished = {JobState.DONE: n_finished - n_failed, JobState.FAILED: n_failed}
    return StudyStatus(
        id=study,
        record=record,
        state=study_state(tx, study, current),
        counts=counts + Counter(finished),
        members=n_members,
        best=current.best,
        best_score=current.best_score,
        stopped=current.stopped,
        stopped_by=current.stopped_by,
        created_at=created_at,
        started_at=current.started_at,
        changed_at=changed_at,
        best_scores=current.best_scores or 1,
        lost=n_lost,
        read_at=at,
    )


def _counts(
    tx: Transaction, study: int, record: StudyRecord, at: float
) -> tuple[Counter[JobState], int, int]:
    """Return how many open jobs there are by state, how many members, and how many are lost."""
    counts: Counter[JobState] = Counter()
    n_members = n_lost = 0
    values = {"study": study, "rounds": record.rounds, "now": at}
    for state, unfinished, n, n_expired in tx.execute(_COUNT, values):
        n_members += n
        n_lost += n_expired
        if state in _AT_WORK:
            counts[JobState(state)] += n
        elif state == HeadState.ENDED and unfinished:
            counts[JobState.CANCELLED] += n
    return counts, n_members, n_lost


def _finished(
    tx: Transaction, study: int, wanted: frozenset[JobState], *, after: int, limit: int
) -> list[JobRecord]:
    finished = sorted(wanted & _FINAL)
    if not finished:
        return []
    which = "" if len(finished) > 1 else " AND j.state = :state"
    values = {**rows.id_range(study), "state": finished[0].value, "limit": limit}
    values["after"] = study * ID_STRIDE + max(0, after)
    found = tx.execute(f"{_LOG_AFTER}{which} ORDER BY j.id LIMIT :limit", values)
    return list(map(rows.finished_job, found))


def _open(
    tx: Transaction, study: int, wanted: frozenset[JobState], *, rounds: int
) -> Iterator[JobRecord]:
    if wanted <= _FINAL:
        return
    for row in tx.execute(rows.HEADS, {"study": study}):
        found = rows.open_job(HeadRow._make(row), rounds=rounds)
        if found is not None and found.state in wanted:
            yield found

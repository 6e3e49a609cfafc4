"""The SQL store: each promise of the protocol is one transaction of the modules beside this one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from evolvent.core.algorithms import Algorithm
from evolvent.core.records import Hyperparameters, JobId, JobRecord, JobState
from evolvent.core.study import StudyRecord
from evolvent.errors import StoreUnavailable, UnknownStudy
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.checkpoints.transfer import CheckpointWriter, HeldCheckpoints, hold
from evolvent.store.dump import Chosen, StudyDump
from evolvent.store.idempotency import RequestFingerprint
from evolvent.store.records import (
    FailedAttempt,
    Failure,
    JobColumn,
    Lease,
    MemberView,
    Point,
    Report,
    StudyStatus,
    Wait,
    named,
)
from evolvent.store.sql import claim as sql_claim
from evolvent.store.sql import control as sql_control
from evolvent.store.sql import dump as sql_dump
from evolvent.store.sql import read as sql_read
from evolvent.store.sql import report as sql_report
from evolvent.store.sql import restore as sql_restore
from evolvent.store.sql.database import ConnectionLost, Database
from evolvent.store.sql.retry import (
    retry,
    retry_idempotent,
    retry_if_rolled_back,
    run_idempotent,
)
from evolvent.store.sql.rows import encode
from evolvent.store.sql.session import DatabaseSession, UnitOfWork, unknown_study
from evolvent.store.sql.tokens import SqlTokens
from evolvent.store.tokens import Tokens

_MAX_FILES_S = 600.0  # many files may have to be linked or moved


class SqlStore:
    """A store in a SQLite file or on a PostgreSQL server; checkpoints lie in a directory.

    Attributes:
        is_remote: whether the database may do what is asked and the answer get lost on the way.
    """

    def __init__(self, database: Database) -> None:
        self._session = DatabaseSession(database)
        self.is_remote = database.is_remote

    @property
    def url(self) -> str:
        return self._session.database.url

    @property
    def secret_url(self) -> str:
        """The URL for another process of this user, with the password if there is one."""
        return self._session.database.secret_url

    @property
    def tokens(self) -> Tokens:
        return Tokens(SqlTokens(self._session.database), is_local=not self.is_remote)

    def close(self) -> None:
        self._session.database.close()

    # --- studies -------------------------------------------------------------------------------

    @retry_idempotent
    def create_study(self, record: StudyRecord, *, key: str | None = None) -> int:
        self._session.database.ensure_checkpoint_root()
        with self._session.database.write(synced=record.durability == "power") as tx:
            return run_idempotent(
                tx,
                key,
                RequestFingerprint("create", record),
                lambda: sql_control.create(tx, record),
            )

    @retry
    def status(self, study: int) -> StudyStatus:
        with self._session.database.read() as tx:
            found = sql_read.statuses(tx, self._session.decode_record, study=study)
        if not found:
            raise unknown_study(study)
        return found[0]

    @retry
    def find_study(self, name: str) -> StudyStatus:
        return named(name, self.studies(), url=self.url)

    @retry
    def studies(self) -> list[StudyStatus]:
        with self._session.database.read() as tx:
            return sql_read.statuses(tx, self._session.decode_record)

    @retry_if_rolled_back
    def delete_study(self, study: int) -> None:
        with self._session.work(study) as work:
            work.load_study()  # refuses a study that is not there
            sql_control.delete(work, study)
        # Released after COMMIT, as all checkpoints.
        self._session.forget(study)
        work.cache.checkpoints.remove_all()

    @retry
    def checkpoints(self, study: int) -> LocalCheckpoints:
        checkpoints = self._session.cache(study).checkpoints
        self._session.database.ensure_checkpoint_root()
        return checkpoints

    @retry
    def use_algorithm(self, study: int, algorithm: Algorithm) -> None:
        self._session.cache(study).use_algorithm(algorithm)

    # --- work ----------------------------------------------------------------------------------

    @retry_idempotent
    def claim(
        self,
        study: int,
        *,
        worker: str,
        lease_s: float,
        prefer: int | None = None,
        wait: Wait | None = None,  # noqa: ARG002 - a database wakes nobody: the caller asks again
        key: str | None = None,
    ) -> Lease | None:
        request = sql_claim.ClaimRequest(study, worker, lease_s, prefer, key)
        return sql_claim.claim(self._session, request)

    @retry
    def heartbeat(
        self,
        lease: Lease,
        *,
        lease_s: float,
        points: Sequence[Point] = (),
        offset: int | None = None,
    ) -> None:
        try:
            # No study lock: heartbeats of many workers change one row each and wait for nobody. Not
            # synced: points that a power cut undoes are asked for by the next offset.
            with self._session.database.write(synced=False) as tx:
                sql_report.heartbeat(tx, lease, lease_s=lease_s, points=points, offset=offset)
        except ConnectionLost as e:
            # Not made again: points without an offset that may be stored would be stored twice.
            if e.maybe_committed and points and offset is None:
                raise StoreUnavailable(str(e)) from e
            raise

    @retry
    def report(self, lease: Lease, report: Report) -> None:
        metrics = encode(report.metrics)  # before anybody has to wait for the lock
        with self._work_for(lease) as work:
            sql_report.report(work, lease, report, metrics=metrics)

    @retry
    def fail(self, lease: Lease, failure: Failure) -> None:
        with self._work_for(lease) as work:
            sql_report.fail(work, lease, failure)

    @retry
    def release(self, study: int, *, worker: str, failure: Failure) -> int:
        with self._session.work(study) as work:
            return sql_report.release(work, worker, failure)

    @retry
    def reparent(self, lease: Lease, *, parent: JobId, reason: str) -> Lease:
        with self._work_for(lease) as work:
            return sql_report.reparent(work, lease, parent, reason)

    # --- control -------------------------------------------------------------------------------

    @retry
    def stop(self, study: int, *, reason: str) -> None:
        with self._work_on(study) as work:
            sql_control.stop(work, reason)

    @retry
    def resume(self, study: int) -> None:
        with self._work_on(study) as work:
            sql_control.resume(work)

    @retry
    def extend(self, study: int, *, rounds: int) -> None:
        with self._work_on(study) as work:
            sql_control.extend(work, rounds)

    @retry
    def retarget(self, study: int, *, target: float | None) -> None:
        with self._work_on(study) as work:
            sql_control.retarget(work, target)

    @retry
    def remember(self, study: int, *, trainable: str) -> None:
        with self._work_on(study) as work:
            sql_control.remember(work, trainable)

    @retry_idempotent
    def push(
        self,
        study: int,
        hyperparameters: Hyperparameters,
        *,
        done: Report | None = None,
        key: str | None = None,
    ) -> JobId:
        metrics = "" if done is None else encode(done.metrics)

        def push() -> str:
            if done is None:
                return sql_control.push(work, hyperparameters)
            return sql_control.push_done(work, hyperparameters, done, metrics=metrics)

        call = RequestFingerprint("push", study, hyperparameters, done)
        with self._work_on(study) as work:
            return JobId.parse(run_idempotent(work, key, call, push))

    @retry
    def pin(self, study: int, job: JobId) -> None:
        with self._work_on(study) as work:
            sql_control.pin(work, job, checkpoints=self.checkpoints(study))

    @retry
    def unpin(self, study: int, job: JobId) -> None:
        with self._work_on(study) as work:
            sql_control.unpin(work, job)

    @retry
    def collect(self, study: int) -> int:
        checkpoints = self.checkpoints(study)
        database = self._session.database
        # Exclusive before unlink, from what is needed until the last file is gone.
        with database.exclusive(study, max_wait_s=_MAX_FILES_S) as tx:
            addresses, oldest = sql_control.needed_checkpoints(tx, study)
            return checkpoints.sweep(addresses, staged_before=oldest)

    # --- reading -------------------------------------------------------------------------------

    @retry
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

    @retry
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

    @retry
    def job(self, study: int, job: JobId) -> JobRecord:
        with self._session.read(study) as (tx, record):
            return sql_read.job(tx, study, job, rounds=record.rounds)

    @retry
    def members(self, study: int) -> list[MemberView]:
        with self._session.read(study) as (tx, record):
            return sql_read.members(tx, study, rounds=record.rounds)

    @retry
    def lineage(self, study: int, job: JobId) -> list[JobRecord]:
        with self._session.read(study) as (tx, record):
            return sql_read.lineage(tx, study, job, rounds=record.rounds)

    @retry
    def points(self, study: int, job: JobId) -> list[Point]:
        with self._session.read(study) as (tx, record):
            return sql_read.points(tx, study, job, rounds=record.rounds)

    @retry
    def points_of(self, study: int, member: int) -> list[tuple[int, float, str]]:
        with self._session.read(study) as (tx, _):
            return sql_read.points_of(tx, study, member)

    @retry
    def failures(self, study: int, *, limit: int = 100) -> list[FailedAttempt]:
        with self._session.read(study) as (tx, _):
            return sql_read.failures(tx, study, limit=limit)

    @retry
    def pins(self, study: int) -> list[JobId]:
        with self._session.read(study) as (tx, _):
            return sql_read.pins(tx, study)

    # --- whole studies -------------------------------------------------------------------------

    @contextmanager
    def dump(
        self, study: int, *, checkpoints: Chosen
    ) -> Iterator[tuple[StudyDump, HeldCheckpoints]]:
        with ExitStack() as stack:
            lock = self._session.database.exclusive(study, max_wait_s=_MAX_FILES_S)
            # Exclusive only while the files are linked: then nobody can discard what the snapshot
            # names, and the long reading that follows holds up nobody.
            with lock:
                tx, record = stack.enter_context(self._session.read(study))
                chosen = sql_dump.chosen(tx, study, checkpoints)
                files = stack.enter_context(hold(self.checkpoints(study), chosen))
            yield sql_dump.dump(tx, study, record), files

    def restore(self, dump: StudyDump, *, save: CheckpointWriter, key: str | None = None) -> int:
        return sql_restore.restore(self._session, dump, save, key)

    @contextmanager
    def _work_on(self, study: int) -> Iterator[UnitOfWork]:
        with self._session.work(study) as work:
            work.load_study()
            yield work

    def _work_for(self, lease: Lease) -> UnitOfWork:
        try:
            return self._session.work(lease.study)
        except UnknownStudy as e:
            raise sql_report.lease_lost(lease) from e

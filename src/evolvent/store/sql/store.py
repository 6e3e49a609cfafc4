"""The SQL store: each promise of the protocol is a transaction, here or in the modules beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

from evolvent.core.algorithms import Algorithm
from evolvent.core.records import JobId
from evolvent.errors import StoreUnavailable, UnknownStudy
from evolvent.store.checkpoints.transfer import CheckpointWriter, HeldCheckpoints, hold
from evolvent.store.dump import Chosen, StudyDump
from evolvent.store.records import Failure, Lease, Point, Report, Wait
from evolvent.store.sql import claim as sql_claim
from evolvent.store.sql import dump as sql_dump
from evolvent.store.sql import report as sql_report
from evolvent.store.sql import restore as sql_restore
from evolvent.store.sql.control import MAX_FILES_S, SqlControl
from evolvent.store.sql.database import ConnectionLost, Database
from evolvent.store.sql.read import SqlReader
from evolvent.store.sql.retry import retry, retry_idempotent
from evolvent.store.sql.rows import encode
from evolvent.store.sql.session import DatabaseSession, UnitOfWork


class SqlStore(SqlReader, SqlControl):
    """A store in a SQLite file or on a PostgreSQL server; checkpoints lie in a directory.

    Attributes:
        is_remote: whether the database may do what is asked and the answer get lost on the way.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(DatabaseSession(database))
        self.database = database
        self.is_remote = database.is_remote

    @property
    def url(self) -> str:
        return self._session.database.url

    @property
    def secret_url(self) -> str:
        """The URL for another process of this user, with the password if there is one."""
        return self._session.database.secret_url

    def close(self) -> None:
        self._session.database.close()

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

    # --- whole studies -------------------------------------------------------------------------

    @contextmanager
    def dump(
        self, study: int, *, checkpoints: Chosen
    ) -> Iterator[tuple[StudyDump, HeldCheckpoints]]:
        with ExitStack() as stack:
            database = self._session.database
            lock: AbstractContextManager[object] = nullcontext()
            if not database.read_only:
                lock = database.exclusive(study, max_wait_s=MAX_FILES_S)
            # Exclusive only while the files are linked: then nobody can discard what the snapshot
            # names, and the long reading that follows holds up nobody.
            with lock:
                tx, record = stack.enter_context(self._session.read(study))
                chosen = sql_dump.chosen(tx, study, checkpoints)
                files = stack.enter_context(hold(self.checkpoints(study), chosen))
            yield sql_dump.dump(tx, study, record), files

    def restore(self, dump: StudyDump, *, save: CheckpointWriter, key: str | None = None) -> int:
        return sql_restore.restore(self._session, dump, save, key)

    def _work_for(self, lease: Lease) -> UnitOfWork:
        try:
            return self._session.work(lease.study)
        except UnknownStudy as e:
            raise sql_report.lease_lost(lease) from e

"""The SQL store: each promise of the protocol is one transaction of the modules beside this one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from evolvent.core.algorithms import Algorithm
from evolvent.core.records import Hyperparameters, JobId, JobRecord, JobState
from evolvent.core.study import StudyRecord
from evolvent.errors import UnknownStudy
from evolvent.store import sql_claim, sql_control, sql_read, sql_work
from evolvent.store.checkpoints import Checkpoints
from evolvent.store.records import (
    FailedAttempt,
    Failure,
    Lease,
    MemberView,
    Point,
    Report,
    StudyStatus,
)
from evolvent.store.sql_rows import encode
from evolvent.store.sql_session import Session, Work, unknown


class SqlStore:
    """A store in a SQLite file; checkpoints lie in a directory beside it."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Open a store.

        Args:
            path: the file.
            create: make it when it is not there.

        Raises:
            StoreError: it cannot be used; says why and what to do.
        """
        self._session = Session(path, create=create)

    @property
    def url(self) -> str:
        return f"sqlite:///{self._session.database.path}"

    def close(self) -> None:
        self._session.database.close()

    # --- studies -------------------------------------------------------------------------------

    def create_study(self, record: StudyRecord) -> int:
        with self._session.database.write(synced=record.durability == "power") as tx:
            return sql_control.create(tx, record)

    def status(self, study: int) -> StudyStatus:
        with self._session.database.read() as tx:
            found = sql_read.statuses(tx, self._session.decoded, study=study)
        if not found:
            raise unknown(study)
        return found[0]

    def find_study(self, name: str) -> StudyStatus:
        names = {status.record.name: status for status in self.studies()}
        if name not in names:
            close = difflib.get_close_matches(name, names) or list(names)[-3:]
            hint = f"there is {', '.join(map(repr, close))}" if close else "it is empty"
            raise UnknownStudy(f"no study {name!r} in {self.url}: {hint}")
        return names[name]

    def studies(self) -> list[StudyStatus]:
        with self._session.database.read() as tx:
            return sql_read.statuses(tx, self._session.decoded)

    def delete_study(self, study: int) -> None:
        with self._session.work(study) as work:
            work.know()  # refuses a study that is not there
            sql_control.delete(work, study)
        self._session.forget(study)
        work.memory.checkpoints.remove_all()

    def checkpoints(self, study: int) -> Checkpoints:
        return self._session.memory(study).checkpoints

    def use_algorithm(self, study: int, algorithm: Algorithm) -> None:
        self._session.memory(study).use(algorithm)

    # --- work ----------------------------------------------------------------------------------

    def claim(
        self, study: int, *, worker: str, lease_s: float, prefer: int | None = None
    ) -> Lease | None:
        memory = self._session.memory(study)
        if memory.idle and not self._anything(study):
            return None
        wish = sql_claim.Wish(study, worker=worker, lease_s=lease_s, prefer=prefer)
        with self._session.database.alone() as tx:
            given = sql_claim.claim_at_once(tx, wish)
        if given is None:
            with self._session.work(study, synced=False) as work:
                given = sql_claim.claim(work, wish)
        memory.idle = given is None
        return None if given is None else sql_claim.lease(given, wish)

    def heartbeat(self, lease: Lease, *, lease_s: float, points: Sequence[Point] = ()) -> None:
        with self._session.database.write(synced=False) as tx:
            sql_work.heartbeat(tx, lease, lease_s=lease_s, points=points)

    def report(self, lease: Lease, report: Report) -> None:
        metrics = encode(report.metrics)
        with self._work(lease) as work:
            sql_work.report(work, lease, report, metrics=metrics)

    def fail(self, lease: Lease, failure: Failure) -> None:
        with self._work(lease) as work:
            sql_work.fail(work, lease, failure)

    def release(self, study: int, *, worker: str, failure: Failure) -> int:
        with self._session.work(study) as work:
            return sql_work.release(work, worker, failure)

    def reparent(self, lease: Lease, *, parent: JobId, reason: str) -> Lease:
        with self._work(lease) as work:
            return sql_work.reparent(work, lease, parent=parent, reason=reason)

    # --- control -------------------------------------------------------------------------------
    def stop(self, study: int, *, reason: str) -> None:
        with self._changing(study) as work:
            sql_control.stop(work, reason)

    def resume(self, study: int) -> None:
        with self._changing(study) as work:
            sql_control.resume(work)

    def extend(self, study: int, *, rounds: int) -> None:
        with self._changing(study) as work:
            sql_control.extend(work, rounds)

    def retarget(self, study: int, *, target: float | None) -> None:
        with self._changing(study) as work:
            sql_control.retarget(work, target)

    def push(self, study: int, hyperparameters: Hyperparameters) -> JobId:
        with self._changing(study) as work:
            return sql_control.push(work, hyperparameters)

    def pin(self, study: int, job: JobId) -> None:
        with self._changing(study) as work:
            sql_control.pin(work, job, checkpoints=self.checkpoints(study))

    def unpin(self, study: int, job: JobId) -> None:
        with self._changing(study) as work:
            sql_control.unpin(work, job)

    def pins(self, study: int) -> list[JobId]:
        with self._session.read(study) as (tx, _):
            return sql_read.pins(tx, study)

    def collect(self, study: int) -> int:
        checkpoints = self.checkpoints(study)
        with self._session.database.alone() as tx:
            addresses, oldest = sql_control.kept(tx, study)
            return checkpoints.sweep(addresses, staged_before=oldest)

    # --- reading -------------------------------------------------------------------------------

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

    def job(self, study: int, job: JobId) -> JobRecord:
        with self._session.read(study) as (tx, record):
            return sql_read.job(tx, study, job, rounds=record.rounds)

    def members(self, study: int) -> list[MemberView]:
        with self._session.read(study) as (tx, record):
            return sql_read.members(tx, study, rounds=record.rounds)

    def lineage(self, study: int, job: JobId) -> list[JobRecord]:
        with self._session.read(study) as (tx, record):
            return sql_read.lineage(tx, study, job, rounds=record.rounds)

    def points(self, study: int, job: JobId) -> list[Point]:
        with self._session.read(study) as (tx, record):
            return sql_read.points(tx, study, job, rounds=record.rounds)

    def failures(self, study: int, *, limit: int = 100) -> list[FailedAttempt]:
        with self._session.read(study) as (tx, _):
            return sql_read.failures(tx, study, limit=limit)

    @contextmanager
    def _changing(self, study: int) -> Iterator[Work]:
        with self._session.work(study) as work:
            work.know()
            yield work

    def _work(self, lease: Lease) -> Work:
        try:
            return self._session.work(lease.study)
        except UnknownStudy as e:
            raise sql_work.lost(lease) from e

    def _anything(self, study: int) -> bool:
        with self._session.read(study) as (tx, _):
            return sql_claim.anything(tx, study)

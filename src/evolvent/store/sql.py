"""The SQL store: each promise of the protocol is one transaction of the modules beside this one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from evolvent.core.algorithms import Algorithm
from evolvent.core.records import Hyperparameters, JobId
from evolvent.core.study import StudyRecord
from evolvent.errors import UnknownStudy
from evolvent.store import (
    sql_archive,
    sql_claim,
    sql_control,
    sql_push,
    sql_read,
    sql_restore,
    sql_work,
)
from evolvent.store.checkpoints import Checkpoints
from evolvent.store.dump import Chosen, StudyDump
from evolvent.store.holding import Held, held
from evolvent.store.incoming import Save
from evolvent.store.once import Call
from evolvent.store.records import (
    Failure,
    Lease,
    Point,
    Report,
    StudyStatus,
    Wait,
    named,
)
from evolvent.store.sql_again import NewKey, again, again_by_key, again_if_undone
from evolvent.store.sql_once import once
from evolvent.store.sql_reading import SqlReading
from evolvent.store.sql_rows import encode
from evolvent.store.sql_session import Work, unknown
from evolvent.store.sql_tokens import SqlKeeping
from evolvent.store.tokens import Tokens

_FILES_S = 600.0  # many files may have to be linked or moved


class SqlStore(SqlReading):
    """A store in a SQLite file or on a PostgreSQL server; checkpoints lie in a directory."""

    @property
    def url(self) -> str:
        return self._session.database.url

    @property
    def address(self) -> str:
        """The URL for another process of this user, with the password if there is one."""
        return self._session.database.address

    @property
    def tokens(self) -> Tokens:
        database = self._session.database
        return Tokens(SqlKeeping(database), quick=database.url.startswith("sqlite:"))

    @property
    def distant(self) -> bool:
        """Whether the database may do what is asked and its answer get lost."""
        return self._session.database.distant

    def close(self) -> None:
        self._session.database.close()

    # --- studies -------------------------------------------------------------------------------

    @again_by_key
    def create_study(self, record: StudyRecord, *, key: str | None = None) -> int:
        self._session.database.found_checkpoints()
        with self._session.database.write(synced=record.durability == "power") as tx:
            return once(tx, key, Call("create", record), lambda: sql_control.create(tx, record))

    @again
    def status(self, study: int) -> StudyStatus:
        with self._session.database.read() as tx:
            found = sql_read.statuses(tx, self._session.decoded, study=study)
        if not found:
            raise unknown(study)
        return found[0]

    @again
    def find_study(self, name: str) -> StudyStatus:
        return named(name, self.studies(), url=self.url)

    @again
    def studies(self) -> list[StudyStatus]:
        with self._session.database.read() as tx:
            return sql_read.statuses(tx, self._session.decoded)

    @again_if_undone
    def delete_study(self, study: int) -> None:
        with self._session.work(study) as work:
            work.know()  # refuses a study that is not there
            sql_control.delete(work, study)
        self._session.forget(study)
        work.memory.checkpoints.remove_all()

    @again
    def checkpoints(self, study: int) -> Checkpoints:
        checkpoints = self._session.memory(study).checkpoints
        self._session.database.found_checkpoints()
        return checkpoints

    @again
    def use_algorithm(self, study: int, algorithm: Algorithm) -> None:
        self._session.memory(study).use(algorithm)

    # --- work ----------------------------------------------------------------------------------

    @again_by_key
    def claim(
        self,
        study: int,
        *,
        worker: str,
        lease_s: float,
        prefer: int | None = None,
        wait: Wait | None = None,  # noqa: ARG002 - nobody tells us: the caller asks again
        key: str | None = None,
    ) -> Lease | None:
        wish = sql_claim.Wish(study, worker, lease_s, prefer, key)
        memory = self._session.memory(study)
        if key is not None and not isinstance(key, NewKey):
            before = self._given(wish)
            if before is not None:
                return before
        if memory.idle and not self._anything(study):
            return None
        self._session.database.found_checkpoints()
        given = sql_claim.claim_at_once(self._session.database, wish)
        if given is None:
            with self._session.work(study, synced=False) as work:
                given = sql_claim.claim(work, wish)
        memory.idle = given is None
        return None if given is None else sql_claim.lease(given, wish)

    @again_by_key
    def heartbeat(
        self,
        lease: Lease,
        *,
        lease_s: float,
        points: Sequence[Point] = (),
        key: str | None = None,
    ) -> None:
        with self._session.database.write(synced=False) as tx:
            once(
                tx,
                key,
                Call("heartbeat", lease, lease_s, points),
                lambda: sql_work.heartbeat(tx, lease, lease_s=lease_s, points=points),
            )

    @again
    def report(self, lease: Lease, report: Report) -> None:
        metrics = encode(report.metrics)
        with self._work(lease) as work:
            sql_work.report(work, lease, report, metrics=metrics)

    @again_by_key
    def fail(self, lease: Lease, failure: Failure, *, key: str | None = None) -> None:
        with self._work(lease) as work:
            call = Call("fail", lease, failure)
            once(work, key, call, lambda: sql_work.fail(work, lease, failure))

    @again_by_key
    def release(self, study: int, *, worker: str, failure: Failure, key: str | None = None) -> int:
        with self._session.work(study) as work:
            call = Call("release", study, worker, failure)
            return once(work, key, call, lambda: sql_work.release(work, worker, failure))

    @again_by_key
    def reparent(
        self, lease: Lease, *, parent: JobId, reason: str, key: str | None = None
    ) -> Lease:
        with self._work(lease) as work:
            call = Call("reparent", lease, parent, reason)
            once(work, key, call, lambda: sql_work.reparent(work, lease, parent, reason))
            return sql_work.renewed(work, lease)

    # --- control -------------------------------------------------------------------------------
    @again
    def stop(self, study: int, *, reason: str) -> None:
        with self._changing(study) as work:
            sql_control.stop(work, reason)

    @again
    def resume(self, study: int) -> None:
        with self._changing(study) as work:
            sql_control.resume(work)

    @again
    def extend(self, study: int, *, rounds: int) -> None:
        with self._changing(study) as work:
            sql_control.extend(work, rounds)

    @again
    def retarget(self, study: int, *, target: float | None) -> None:
        with self._changing(study) as work:
            sql_control.retarget(work, target)

    @again
    def remember(self, study: int, *, trainable: str) -> None:
        with self._changing(study) as work:
            sql_control.remember(work, trainable)

    @again_by_key
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
            return sql_push.push_done(work, hyperparameters, done, metrics=metrics)

        call = Call("push", study, hyperparameters, done)
        with self._changing(study) as work:
            return JobId.parse(once(work, key, call, push))

    @again
    def pin(self, study: int, job: JobId) -> None:
        with self._changing(study) as work:
            sql_control.pin(work, job, checkpoints=self.checkpoints(study))

    @again
    def unpin(self, study: int, job: JobId) -> None:
        with self._changing(study) as work:
            sql_control.unpin(work, job)

    @again
    def collect(self, study: int) -> int:
        checkpoints = self.checkpoints(study)
        database = self._session.database
        with database.alone(study, patience_s=_FILES_S) as tx:
            addresses, oldest = sql_control.kept(tx, study)
            return checkpoints.sweep(addresses, staged_before=oldest)

    # --- whole studies -------------------------------------------------------------------------

    @contextmanager
    def dump(self, study: int, *, checkpoints: Chosen) -> Iterator[tuple[StudyDump, Held]]:
        with ExitStack() as stack:
            alone = self._session.database.alone(study, patience_s=_FILES_S)
            with alone:  # nobody discards what is being held
                tx, record = stack.enter_context(self._session.read(study))
                chosen = sql_archive.chosen(tx, study, checkpoints)
                files = stack.enter_context(held(self.checkpoints(study), chosen))
            yield sql_archive.dump(tx, study, record), files

    def restore(self, dump: StudyDump, *, save: Save, key: str | None = None) -> int:
        return sql_restore.restore(self._session, dump, save, key)

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

    def _given(self, wish: sql_claim.Wish) -> Lease | None:
        with self._session.database.read() as tx:
            head = sql_claim.given(tx, wish)
        return None if head is None else sql_claim.lease(head, wish)

    def _anything(self, study: int) -> bool:
        with self._session.read(study) as (tx, _):
            return sql_claim.anything(tx, study)

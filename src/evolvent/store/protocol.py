"""What a store promises. `tests.contract` checks every sentence on every store.

**Log and heads.** A store holds studies, and for each an append-only log of jobs. The head of every
member (its one open job) sits beside the log; a job moves from the head into the log when it is
reported.

**Threads and processes.** Methods are synchronous, safe to call from several threads and processes,
and raise `EvolventError`s only. Everything that changes the log is one transaction: it happens
whole or not at all.

**Who owns a running job.** The worker with its newest lease, until that has expired and another
claim has given the job out again. In between its worker is lost: `StudyStatus.lost` counts such
jobs, `StudyStatus.lost_s` tells them. From that claim on whatever the first worker says of it is
refused (LeaseLost), by the number of its attempt and by its name; it may stop at once.

**Calls made again**, when an answer was lost, also while the first one is still under way, change
nothing more and return what they returned before. What a worker says of its lease is known by the
number of the attempt and its name: its report, its failure, its parent, and of its points how many
came before them. Calls that make something (a study, a member) take a `key`, which names the call,
such as by a UUID. With other arguments it is another call, and refused (ConfigError). Keys are kept
for `sql.idempotency.KEPT_S`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from evolvent.core.algorithms import Algorithm
from evolvent.core.records import Hyperparameters, JobId, JobRecord, JobState
from evolvent.core.study import StudyRecord
from evolvent.store.checkpoints.protocol import CheckpointStore
from evolvent.store.checkpoints.transfer import CheckpointWriter, HeldCheckpoints
from evolvent.store.dump import Chosen, StudyDump
from evolvent.store.interventions import Intervention
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
)


class Store(Protocol):
    """Where the log lives."""

    @property
    def url(self) -> str: ...

    def close(self) -> None:
        """Let go of files and connections. The store cannot be used afterwards."""

    # --- studies -------------------------------------------------------------------------------

    def create_study(self, record: StudyRecord, *, key: str | None = None) -> int:
        """Write the study and the first heads of its members; return its number.

        Raises:
            StudyExists: the name is taken.
        """

    def status(self, study: int) -> StudyStatus:
        """Raises UnknownStudy if there is none of that number."""

    def find_study(self, name: str) -> StudyStatus:
        """Raises UnknownStudy, naming the closest names there are."""

    def studies(self) -> list[StudyStatus]:
        """Return all studies, the newest last."""

    def delete_study(self, study: int) -> None:
        """Remove the study, its log and its checkpoints. Leases on it are lost."""

    def checkpoints(self, study: int) -> CheckpointStore:
        """Return the checkpoints of one study."""

    def use_algorithm(self, study: int, algorithm: Algorithm) -> None:
        """Decide in this process with this object instead of decoding the stored one.

        For algorithms with functions that cannot be imported by name (a script, a notebook).
        """

    # --- work ----------------------------------------------------------------------------------

    def claim(
        self,
        study: int,
        *,
        worker: str,
        lease_s: float,
        prefer: int | None = None,
        wait: Wait | None = None,
        key: str | None = None,
    ) -> Lease | None:
        """Give out one job: queued, or running with an expired lease.

        The lowest round first; within it the member `prefer`, then the lowest member. The attempt
        number grows by one; an expired lease is noted as a LOST failure of its attempt. None when
        there is nothing to claim now or the study is not OPEN (see `status`).

        In an asynchronous study the member of a job that is UNDECIDED decides in the same
        transaction, against the newest finished job of every member, the worse of the last two of
        those a round ahead; a job that is given out again stays as it was decided. What its member
        saved last can be copied until it reports.

        A store that can tell when there is something waits for it, as long as the study is OPEN,
        if asked to by `wait`; others answer at once. `key` names the lease, and lies with it: a
        repeated one gives the same lease while it counts.
        """

    def heartbeat(
        self,
        lease: Lease,
        *,
        lease_s: float,
        points: Sequence[Point] = (),
        offset: int | None = None,
    ) -> None:
        """Prolong a lease to `lease_s` seconds from now and keep the points, in their order.

        `offset` is how many points of this attempt came before these, as the worker counts them;
        those that are here already are left out. None appends all, and then a call whose answer
        was lost may not be made again.

        Raises:
            LeaseLost: the job has been given to another, reported, or removed; unless all the
                points came before that.
            ConfigError: some points before `offset` are not here: they never came, or a crash of
                the database has undone them. Send them again.
        """

    def report(self, lease: Lease, report: Report) -> None:
        """Append the finished job to the log and open the next one: one transaction.

        A synchronous study decides for all members when the last one of a round has reported; in
        any other, failed members look for a donor. Reporting the same attempt again changes nothing
        and succeeds, so that a lost answer can be repeated. Checkpoints that nothing needs any more
        are collected.

        Raises:
            LeaseLost: this attempt no longer counts.
            ConfigError: some points before `report.offset` are not here, as for `heartbeat`.
            CheckpointMissing: the checkpoint is not there: seal it again and repeat.
        """

    def fail(self, lease: Lease, failure: Failure) -> None:
        """Note a failed attempt.

        The job is requeued from its parent or, when `failure.kind` says so, appended to the log as
        failed, and the member waits for, or copies, a healthy donor. The same failure of the same
        attempt, by kind and message, is noted once.

        Raises:
            LeaseLost: this attempt no longer counts.
        """

    def release(self, study: int, *, worker: str, failure: Failure) -> int:
        """Note `failure` for every job this worker holds, as `fail` does; it claims no more.

        Returns:
            How many; when it holds none (any more), for how many of its jobs the failure, by kind
            and message, was noted before.
        """

    def reparent(self, lease: Lease, *, parent: JobId, reason: str) -> Lease:
        """Let a claimed job start from an ancestor of its parent, whose checkpoint is damaged.

        `reason` is appended to the job's reason. Nothing happens when it starts from there already,
        or from further back.

        Raises:
            LeaseLost: this attempt no longer counts.
            CheckpointMissing: the checkpoint of `parent` is not there.
        """

    # --- control -------------------------------------------------------------------------------

    # What changes something is noted with it (see `interventions`), as done by the user of this
    # process unless `by` names another. A service names the token that it was asked with.

    def stop(self, study: int, *, reason: str, by: str | None = None) -> None:
        """Give out no more jobs; running ones may still report."""

    def resume(self, study: int, *, by: str | None = None) -> None:
        """Undo `stop`.

        In a FAILED study every member starts again from its last usable checkpoint.
        """

    def extend(self, study: int, *, rounds: int, by: str | None = None) -> None:
        """Set the number of rounds, not below what has been trained.

        Members that had ended for want of rounds go on. A synchronous study that is
        extended goes on exactly as if it had been that long, with the same steps, from the start.
        A study that had stopped at its target stays stopped until `resume`.
        """

    def retarget(self, study: int, *, target: float | None, by: str | None = None) -> None:
        """Set or remove the target.

        A study stopped at a target that is not reached any more is open again.
        """

    def remember(self, study: int, *, trainable: str) -> None:
        """Keep the import path of the training code, for workers that join and are not given it."""

    def push(
        self,
        study: int,
        hyperparameters: Hyperparameters,
        *,
        done: Report | None = None,
        key: str | None = None,
        by: str | None = None,
    ) -> JobId:
        """Add a member, in round 0, with flat hyperparameters given by hand; the rest is drawn.

        With `done`, of a model trained elsewhere, that round is done: it may be copied at once.

        Raises:
            CheckpointMissing: that of `done` is not there; no member has been added.
        """

    def pin(self, study: int, job: JobId) -> None:
        """Keep the checkpoint of a done job until `unpin`.

        Raises:
            UnknownJob: no such done job.
            CheckpointMissing: it has been collected already.
        """

    def unpin(self, study: int, job: JobId) -> None:
        """Let the checkpoint go when nothing else needs it. Not pinned: nothing happens."""

    def pins(self, study: int) -> list[JobId]: ...

    def collect(self, study: int) -> int:
        """Remove all checkpoints and leftovers nothing needs; return how many bytes were freed.

        Staging directories of running jobs are not touched.
        """

    # --- reading -------------------------------------------------------------------------------

    def jobs(
        self,
        study: int,
        *,
        states: Iterable[JobState] | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> list[JobRecord]:
        """Return finished jobs in the order of their reports, then open and cancelled heads.

        Only those in these states; None for all. `after` leaves out so many of the finished ones
        (to read on as the log grows); at most `limit` come.
        """

    def scan(
        self, study: int, columns: Sequence[JobColumn], *, after: int = 0, limit: int | None = None
    ) -> list[tuple[Any, ...]]:
        """Return columns of the finished jobs, one tuple a job, in the order of their reports.

        For whoever reads a long log: nothing is decoded. Hyperparameters (flat) and metrics come
        as JSON text, in which numbers may be NaN or Infinity. `after` leaves out so many jobs (to
        read page by page, or on as the log grows); at most `limit` come.
        """

    def job(self, study: int, job: JobId) -> JobRecord:
        """Raises UnknownJob."""

    def members(self, study: int) -> list[MemberView]:
        """Return the newest and the open job of every member, by number."""

    def lineage(self, study: int, job: JobId) -> list[JobRecord]:
        """Return the job and its ancestors, round 0 first."""

    def points(self, study: int, job: JobId) -> list[Point]:
        """Return the points of the attempt that counts, in the order in which they were logged."""

    def points_of(self, study: int, member: int) -> list[tuple[int, float, str]]:
        """Return the points of all jobs of a member, by round, each as `points` has them.

        Returns:
            For every point its round, its step, and its values as JSON text, as in `scan`.
        """

    def failures(self, study: int, *, limit: int = 100) -> list[FailedAttempt]:
        """Return failed attempts, the newest last."""

    def interventions(self, study: int, *, limit: int | None = None) -> list[Intervention]:
        """Return what people did to the study, the newest last: at most so many, the newest.

        Stops and resumes, new rounds and targets, pushes; each once, in the transaction that did
        it, and none that changed nothing. What workers and the algorithm do is in the log.
        """

    # --- whole studies -------------------------------------------------------------------------

    def dump(
        self, study: int, *, checkpoints: Chosen
    ) -> AbstractContextManager[tuple[StudyDump, HeldCheckpoints]]:
        """Give a whole study as of one instant, and the checkpoints that are to come along.

        Nobody waits for it, and what it gives stays the same while the study goes on. It can be
        read only within the context.

        Raises:
            UnknownJob: a job whose checkpoint is wanted is not done.
            CheckpointMissing: one is not on disk; names the job and the address.
        """

    def restore(self, dump: StudyDump, *, save: CheckpointWriter, key: str | None = None) -> int:
        """Write a whole study with its checkpoints in one transaction; return its number.

        Times, attempts and reasons stay as they were. A study whose members lack checkpoints to
        go on from is stopped, and `resume` refuses it for as long as they lack.

        Args:
            dump: the study; should it raise when it is gone through, nothing has been written.
            save: called with an empty place, to seal there what comes along; likewise.
            key: as in `evolvent.store.protocol`.

        Raises:
            StudyExists: the name is taken.
        """

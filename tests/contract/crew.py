"""Workers played by a test: they claim, save, report, and look at the disk each time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.core.study import StudyRecord
from evolvent.store.protocol import Store
from evolvent.store.records import (
    Failure,
    FailureKind,
    Lease,
    MemberView,
    Point,
    Report,
    StudyStatus,
)
from tests.settings import study_record

LONG = 3600.0
"""A lease that does not run out while a test runs."""

OVER = -1.0
"""A lease that has run out when it is given, so that no test has to wait."""

INVALID = Failure(FailureKind.INVALID, "accuracy is nan")
LOST = Failure(FailureKind.LOST, "killed by signal 9")
RETURNED = Failure(FailureKind.RETURNED, "drained")
RAISED = Failure(FailureKind.RAISED, "ValueError: boom", "Traceback …\nValueError: boom")

Scores: TypeAlias = Callable[[JobRecord], float | None]
"""What training gives; None for a failure that is not tried again."""

Reopen: TypeAlias = Callable[[], Store]
"""Opens the store under test once more, as another process would."""

_texts = itertools.count()


def lr_is_score(job: JobRecord) -> float:
    """Score a job by its learning rate: who copies the best gets what they have."""
    return float(job.hyperparameters["lr"] or 0.0)


class Crew:
    """The workers of one new study.

    After every step the checkpoints on disk are compared with those of the members' newest jobs,
    those that jobs start from, the best, and the pinned: never one more, never one less.
    """

    def __init__(self, store: Store, record: StudyRecord | None = None, **changes: Any) -> None:
        self.store = store
        self.record = record if record is not None else study_record(**changes)
        self.id = store.create_study(self.record)
        self.saved: set[str] = set()
        self.unusable: set[JobId] = set()

    # --- steps ---------------------------------------------------------------------------------

    def claim(
        self, worker: str = "w0", *, lease_s: float = LONG, prefer: int | None = None
    ) -> Lease:
        """Claim a job that must be there."""
        lease = self.store.claim(self.id, worker=worker, lease_s=lease_s, prefer=prefer)
        assert lease is not None, f"nothing to claim in {self.status()}"
        return lease

    def claim_of(self, member: int, worker: str = "w0") -> Lease:
        """Claim the job of one member, which must be among the next."""
        lease = self.claim(worker, prefer=member)
        assert lease.job.member == member, f"got {lease.job.id}, wanted one of member {member}"
        return lease

    def nothing_to_claim(self) -> bool:
        return self.store.claim(self.id, worker="w0", lease_s=LONG) is None

    def save(self, text: str | None = None) -> str:
        """Seal a checkpoint with `text` in it, or with something new, and return its address."""
        checkpoints = self.store.checkpoints(self.id)
        staged = checkpoints.stage("test")
        (staged / "weights").write_text(text if text is not None else f"text {next(_texts)}")
        address = checkpoints.seal(staged)
        checkpoints.drop(staged)
        return address

    def report(
        self, lease: Lease, score: float, points: Iterable[Point] = (), *, text: str | None = None
    ) -> Report:
        """Report a job with this score; return the report, to be repeated."""
        report = Report(score, {self.record.metric: score}, self.save(text), tuple(points))
        self.store.report(lease, report)
        self.saved.add(report.checkpoint)
        self.check_disk()
        return report

    def push_done(self, score: float) -> Report:
        """Push a member that was trained elsewhere with lr 0.25 and momentum 0.5."""
        report = Report(score, {self.record.metric: score}, self.save())
        self.store.push(self.id, {"lr": 0.25, "momentum": 0.5}, done=report)
        self.saved.add(report.checkpoint)
        self.check_disk()
        return report

    def fail(self, lease: Lease, failure: Failure = INVALID) -> None:
        self.store.fail(lease, failure)
        if failure.kind is FailureKind.DAMAGED:
            self.unusable.add(lease.job.id)
        self.check_disk()

    def train(self, score: float, member: int | None = None) -> JobId:
        """Claim a job, of that member if given, and report it."""
        lease = self.claim() if member is None else self.claim_of(member)
        self.report(lease, score)
        return lease.job.id

    def run(self, scores: Scores = lr_is_score) -> None:
        """Work alone until nothing is left."""
        while (lease := self.store.claim(self.id, worker="w0", lease_s=LONG)) is not None:
            self.finish(lease, scores)

    def finish(self, lease: Lease, scores: Scores) -> None:
        score = scores(lease.job)
        if score is None:
            self.fail(lease)
        else:
            self.report(lease, score)

    # --- looking -------------------------------------------------------------------------------

    def status(self) -> StudyStatus:
        return self.store.status(self.id)

    def member(self, number: int) -> MemberView:
        return self.store.members(self.id)[number]

    def open(self, number: int) -> JobRecord:
        """Return the open job of a member, which must have one."""
        job = self.member(number).open
        assert job is not None, f"member {number} has no open job"
        return job

    def log(self) -> dict[str, tuple[Any, ...]]:
        """Return what must be the same whoever reported first: every job but who, when and why."""
        return {
            job.id: (job.state, job.parent, dict(job.hyperparameters), job.score, job.attempt)
            for job in sorted(self.store.jobs(self.id), key=lambda job: (job.round, job.member))
        }

    def on_disk(self) -> set[str]:
        checkpoints = self.store.checkpoints(self.id)
        return {address for address in self.saved if address in checkpoints}

    def needed(self) -> set[str]:
        """Return the addresses that must be on disk, as the log tells them."""
        jobs = [self.store.job(self.id, job) for job in self.store.pins(self.id)]
        best = self.status().best
        if best is not None:
            jobs.append(self.store.job(self.id, best))
        views = self.store.members(self.id)
        starts = map(self._goes_on_from, views)
        newest = (view.newest for view in views if view.newest is not None)
        own = (job.checkpoint for job in newest if job.id not in self.unusable)
        saved = (job.checkpoint for job in jobs)
        return {address for address in (*starts, *own, *saved) if address}

    def check_disk(self) -> None:
        assert self.on_disk() == self.needed()

    def _goes_on_from(self, member: MemberView) -> str | None:
        if member.open is not None:
            return member.open.parent_checkpoint
        newest = member.newest
        if newest is None or newest.id in self.unusable:
            return None
        return newest.checkpoint if newest.state is JobState.DONE else newest.parent_checkpoint

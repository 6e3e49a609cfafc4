"""One study of the reference: members, log and what follows from them; no index, only scans.

Every store is compared with this, so it is written to be obviously right: whatever can be derived
is derived anew each time. Nothing here locks.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evolvent.core.heads import Head, HeadState
from evolvent.core.population import Population
from evolvent.core.records import JobId, JobRecord, JobState, Member
from evolvent.core.study import StudyRecord
from evolvent.errors import LeaseLost, UnknownJob
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.interventions import Intervention, InterventionKind
from evolvent.store.records import FailedAttempt, JobColumn, Lease, Point, StoppedBy, StudyState
from evolvent.store.sql.interventions import this_user

_ACTIVE = {HeadState.QUEUED, HeadState.RUNNING}
_CELLS: Mapping[JobColumn, Callable[[JobRecord], Any]] = {
    "state": lambda job: job.state.value,
    "hyperparameters": lambda job: json.dumps(dict(job.hyperparameters)),
    "metrics": lambda job: json.dumps(dict(job.metrics)),
    "parent_member": lambda job: None if job.parent is None else job.parent.member,
    "parent_round": lambda job: None if job.parent is None else job.parent.round,
}
"""The columns of a scan that are not just fields of the record."""


@dataclass(slots=True)
class Slot:
    """A member: its head with what concerns the open job only, and its newest finished job."""

    head: Head
    newest: JobRecord | None = None
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    worker: str | None = None
    lease_until: float = 0.0
    started_at: float | None = None
    error: str | None = None
    points: list[Point] = field(default_factory=list)
    key: str | None = None  # of the claim that gave it out
    left: JobId | None = None  # what its member would have gone on from, had it not copied

    @property
    def active(self) -> bool:
        return self.head.state in _ACTIVE

    @property
    def healthy(self) -> bool:
        return self.newest is not None and self.newest.score is not None

    def ended_at(self, rounds: int) -> bool:
        """Whether it has ended for want of rounds, when there were so many."""
        return self.head.state is HeadState.ENDED and self.head.round >= rounds

    def claimable(self, now: float) -> bool:
        expired = self.head.state is HeadState.RUNNING and self.lease_until <= now
        return expired or self.head.state is HeadState.QUEUED


@dataclass(slots=True)
class ReferenceStudy:
    """Everything about one study."""

    id: int
    record: StudyRecord
    checkpoints: LocalCheckpoints
    slots: list[Slot]
    created_at: float
    started_at: float | None = None
    changed_at: float | None = None
    stopped: str | None = None
    at_target: bool = False
    undecided: bool = False  # stopped by a decision that failed
    incomplete: bool = False  # imported without checkpoints that it needs to go on
    best: JobRecord | None = None
    log: dict[JobId, JobRecord] = field(default_factory=dict)
    points: dict[JobId, list[Point]] = field(default_factory=dict)
    n_points: dict[tuple[JobId, int], int] = field(default_factory=dict)  # of each attempt
    failed: list[FailedAttempt] = field(default_factory=list)
    interventions: list[Intervention] = field(default_factory=list)
    pins: set[JobId] = field(default_factory=set)
    on_disk: set[str] = field(default_factory=set)

    def copy(self) -> ReferenceStudy:
        """Return a draft to be changed, and thrown away if the change fails half-way."""
        return replace(
            self,
            slots=[replace(slot, points=list(slot.points)) for slot in self.slots],
            log=dict(self.log),
            points=dict(self.points),
            n_points=dict(self.n_points),
            failed=list(self.failed),
            interventions=list(self.interventions),
            pins=set(self.pins),
            on_disk=set(self.on_disk),
        )

    def note(self, kind: InterventionKind, by: str | None, **facts: Any) -> None:
        """Note what was done to it."""
        self.interventions.append(Intervention(time.time(), kind, facts, by or this_user()))

    @property
    def state(self) -> StudyState:
        waits = any(slot.head.state is HeadState.WAITING for slot in self.slots)
        if not any(slot.active for slot in self.slots) and not (self.undecided and waits):
            # Nothing is left that could report, so members that wait would wait for ever.
            healthy = any(slot.healthy for slot in self.slots)
            return StudyState.FINISHED if healthy else StudyState.FAILED
        return StudyState.OPEN if self.stopped is None else StudyState.STOPPED

    @property
    def stopped_by(self) -> StoppedBy | None:
        if self.stopped is None:
            return None
        if self.incomplete:
            return "import"
        return "decision" if self.undecided else "target" if self.at_target else "hand"

    @property
    def population(self) -> Population:
        return Population(
            (self.member_of(slot) for slot in self.slots if slot.newest), _ReferenceLog(self)
        )

    @property
    def needed(self) -> set[str]:
        """Addresses of what members go on from, or left for a copy; of the best, and the pinned."""
        jobs = {job for slot in self.slots for job in (slot.head.parent, slot.left)} | self.pins
        if self.best is not None:
            jobs.add(self.best.id)
        return {address for job in jobs if job and (address := self.address(job))}

    def missing(self) -> list[JobId]:
        """Return the jobs that members go on from and whose checkpoints are not on disk."""
        parents = dict.fromkeys(slot.head.parent for slot in self.slots)
        there = ((job, self.address(job)) for job in parents if job is not None)
        return [job for job, address in there if address and address not in self.checkpoints]

    def address(self, job: JobId | None) -> str | None:
        row = self.log.get(job) if job is not None else None
        return row.checkpoint if row is not None else None

    def open_job(self, slot: Slot) -> JobRecord | None:
        """Return the job of a head: queued, running or cancelled; None when there is none."""
        match slot.head.state:
            case HeadState.QUEUED:
                return self.record_of(slot, JobState.QUEUED)
            case HeadState.RUNNING:
                return self.record_of(slot, JobState.RUNNING)
            case HeadState.ENDED if slot.head.round < self.record.rounds:
                return self.record_of(slot, JobState.CANCELLED)
            case _:
                return None

    def job(self, job: JobId) -> JobRecord:
        if job in self.log:
            return self.log[job]
        for slot in self.slots:
            row = self.open_job(slot)
            if row is not None and row.id == job:
                return row
        raise UnknownJob(f"study {self.record.name!r} has no job {job}")

    def row(self, job: JobRecord, columns: Sequence[JobColumn]) -> tuple[Any, ...]:
        """Return these columns of a job as plain values."""
        return tuple(_CELLS[c](job) if c in _CELLS else getattr(job, c) for c in columns)

    def points_of(self, member: int) -> list[tuple[int, float, str]]:
        """Return the points of a member's jobs with their rounds, the open job's last."""
        if not 0 <= member < len(self.slots):
            return []
        slot = self.slots[member]
        logged = [(r, self.points.get(JobId(member, r), [])) for r in range(slot.head.round)]
        open_job = [(slot.head.round, slot.points if self.open_job(slot) else [])]
        return [
            (round_, point.step, json.dumps(dict(point.values)))
            for round_, points in [*logged, *open_job]
            for point in points
        ]

    def held(self, lease: Lease) -> Slot:
        """Return the slot of a lease that still counts."""
        job = lease.job
        wanted = (job.round, HeadState.RUNNING, job.attempt, lease.worker)
        for slot in self.slots[job.member : job.member + 1]:
            if (slot.head.round, slot.head.state, slot.attempt, slot.worker) == wanted:
                return slot
        raise LeaseLost(f"{job.id}: attempt {job.attempt} no longer counts")

    def lineage(self, job: JobId) -> list[JobRecord]:
        line = [self.job(job)]
        while (parent := line[-1].parent) is not None:
            line.append(self.job(parent))
        return line[::-1]

    def chooses(self, job: JobRecord) -> tuple[int, float]:
        """Return how many scores, its own and its ancestors', may make a job the best; their mean.

        The job may be one that is not in the log yet.
        """
        line = [job, *([] if job.parent is None else self.lineage(job.parent)[::-1])]
        window = {"score": 1, **{f"mean of {n}": n for n in range(2, 101)}}[self.record.best]
        scores = [it.score for it in line if it.score is not None][:window]
        return len(scores), statistics.mean(scores)

    def best_of(self, jobs: Iterable[JobRecord]) -> JobRecord | None:
        """Return the best of some done jobs, if there is any."""

        def rank(job: JobRecord) -> tuple[int, float, int, int]:
            n, score = self.chooses(job)
            return -n, -score, job.round, job.member

        return min(jobs, key=rank, default=None)

    @property
    def best_score(self) -> tuple[int, float | None]:
        """Of how many scores the best has the highest mean, and the mean."""
        return (0, None) if self.best is None else self.chooses(self.best)

    def reached(self, n: int, score: float | None) -> bool:
        """Whether the mean of so many scores reaches the target."""
        enough = n == 1 if self.record.best == "score" else self.record.best == f"mean of {n}"
        wanted = self.record.target
        if not enough or wanted is None or score is None:
            return False
        return -score <= wanted if self.record.mode == "min" else score >= wanted

    def collect(self) -> None:
        """Discard the checkpoints that nothing needs any more."""
        self.checkpoints.discard(self.on_disk - self.needed)
        self.on_disk &= self.needed

    def member_of(self, slot: Slot) -> Member:
        """Return a member that has finished a job as algorithms see it."""
        newest = slot.newest
        assert newest is not None  # for the type checker: callers pass such slots
        return Member(newest.member, newest.round, newest.score, newest.hyperparameters)

    def record_of(self, slot: Slot, state: JobState) -> JobRecord:
        """Return the open job of a member as a record in this state."""
        head = slot.head
        return JobRecord(
            head.member,
            head.round,
            state,
            head.hyperparameters,
            head.parent,
            parent_checkpoint=self.address(head.parent),
            attempt=slot.attempt,
            reason=head.reason,
            error=slot.error,
            worker=slot.worker,
            started_at=slot.started_at,
            cause=head.cause,
            lease_until=slot.lease_until if state is JobState.RUNNING else None,
        )


@dataclass(frozen=True, slots=True)
class _ReferenceLog:
    """The history that algorithms may ask."""

    study: ReferenceStudy

    def scores(self, member: int, window: int, *, round: int | None = None) -> Sequence[float]:
        jobs = [job for job in self.study.log.values() if job.member == member]
        until = max(job.round for job in jobs if round is None or job.round <= round)
        line = self.study.lineage(JobId(member, until))
        scores = [job.score for job in line if job.score is not None]
        return scores[max(0, len(scores) - window) :]

    def round_scores(self, round: int) -> Mapping[int, float | None]:
        return {job.member: job.score for job in self.study.log.values() if job.round == round}

    def jobs(self) -> Sequence[JobRecord]:
        return tuple(self.study.log.values())

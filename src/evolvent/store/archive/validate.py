"""Whether the parts of an archive belong to one and the same study."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from evolvent.core.records import Hyperparameters, JobId, JobRecord, JobState
from evolvent.core.study import StudyRecord
from evolvent.store.codec.fields import check, wrong
from evolvent.store.dump import JobPoint, MemberDump
from evolvent.store.records import FailedAttempt
from evolvent.validation import cut

_Entry = TypeVar("_Entry", JobPoint, FailedAttempt)


class Consistency:
    """Lets records pass that agree with all before them; keeps one byte a job.

    To be asked about the members first, then the jobs, then points and failures.
    """

    def __init__(self, record: StudyRecord, pins: Iterable[JobId]) -> None:
        self._names = frozenset(record.space)
        self._metric, self._population = record.metric, record.population
        self._pins = list(pins)
        self._rounds: list[int] = []
        self._parents: list[JobId | None] = []
        self._done: list[bytearray] = []  # of each member, by round

    def member(self, member: MemberDump) -> MemberDump:
        """Check that members come by number, none left out."""
        head = member.head
        check(head.member == len(self._rounds), "member", head.member, str(len(self._rounds)))
        self._check_names(head.hyperparameters)
        self._rounds.append(head.round)
        self._parents.append(head.parent)
        self._done.append(bytearray())
        return member

    def job(self, job: JobRecord) -> JobRecord:
        """Check that each member's rounds come in turn and start from what was done before."""
        if job.member >= len(self._done):
            raise wrong("job", job.id, f"a member below {len(self._done)}")
        done = self._done[job.member]
        if job.round != len(done) or job.round >= self._rounds[job.member]:
            raise wrong("job", job.id, f"round {len(done)} of this member, if it got so far")
        self._check_names(job.hyperparameters)
        self._check_done("parent", job.parent)
        value = job.metrics.get(self._metric, job.score)
        number = value is None or isinstance(value, (float, int))
        check(number, "metrics", value, f"a number for {self._metric}, the objective")
        done.append(job.state is JobState.DONE)
        return job

    def entry(self, entry: _Entry) -> _Entry:
        """Check that a point or a failure is of a job that there is."""
        job = entry.job
        there = job.member < len(self._rounds) and job.round <= self._rounds[job.member]
        check(there, "job", job, "one of the study")
        return entry

    def check_members(self) -> None:
        """Check that all members have come."""
        n = len(self._rounds)
        check(n >= self._population, "members", n, f"{self._population} or more")

    def check_jobs(self) -> None:
        """Check that all jobs have come that members go on from, and all that are pinned."""
        for member, done in enumerate(self._done):
            wanted = self._rounds[member]
            check(len(done) == wanted, "jobs", len(done), str(wanted), part=f" of member {member}")
            self._check_done("parent", self._parents[member])
        check(len(set(self._pins)) == len(self._pins), "pins", self._pins, "every job once")
        for pinned in self._pins:
            self._check_done("pin", pinned)

    def _check_names(self, values: Hyperparameters) -> None:
        if values.keys() != self._names:
            raise wrong(
                "hyperparameters", [*values], f"those of the space, {cut([*self._names], 120)}"
            )

    def _check_done(self, field: str, job: JobId | None) -> None:
        if job is None:
            return
        done = self._done[job.member] if job.member < len(self._done) else b""
        check(job.round < len(done) and done[job.round] == 1, field, job, "a job that was done")

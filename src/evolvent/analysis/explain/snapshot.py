"""The population as a decision saw it: what every member had finished by a line of the log."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from evolvent.analysis.explain.log_lines import LogLines
from evolvent.core.population import Population
from evolvent.core.records import JobId, JobRecord, Member
from evolvent.errors import UnknownJob

_SCAN = 3  # reports per member that are read around a line before members are asked one by one
_SCAN_LEAST = 256


class PopulationSnapshot:
    """The newest finished job of every member as of a line, which can be moved forward.

    It is the history that an algorithm may ask of the log at that line, too.
    """

    def __init__(self, lines: LogLines, line: int) -> None:
        self.line = line
        self._lines = lines
        self._span = span = max(_SCAN_LEAST, _SCAN * len(lines.views))
        later = [lines[n] for n in range(line + 1, min(line + 1 + span, len(lines)))]
        heads = [job for view in lines.views for job in (view.newest, view.open)]
        self._next: dict[JobId, JobRecord | None]
        self._next = {job.id: job for job in (*heads, *later) if job is not None}
        self.newest = _newest(lines, line, span)
        self.population = Population(map(_member, self.newest.values()), self)

    def advance(self) -> None:
        """Take in one more line."""
        self.line += 1
        job = self._lines[self.line]
        self.newest[job.member] = job
        self.population.update(_member(job))

    def next_job(self, job: JobRecord) -> JobRecord | None:
        """Return what the member of a job did next, perhaps later; None: nothing (yet)."""
        id = JobId(job.member, job.round + 1)
        if id not in self._next:
            try:
                self._next[id] = self._lines.store.job(self._lines.study, id)
            except UnknownJob:
                self._next[id] = None
        return self._next[id]

    def scores(self, member: int, window: int, *, round: int | None = None) -> Sequence[float]:
        """Return at most `window` newest scores along the lineage of a member, oldest first."""
        newest = self.newest[member].round
        job = JobId(member, newest if round is None else min(round, newest))
        line = self._lines.store.lineage(self._lines.study, job)
        scores = [job.score for job in line if job.score is not None]
        return scores[max(0, len(scores) - window) :]

    def round_scores(self, round: int) -> Mapping[int, float | None]:
        """Return what the jobs of a round scored, of members whose next job is their newest."""
        ahead = {member for member, job in self.newest.items() if job.round == round + 1}
        found: dict[int, float | None] = {}
        # Backwards through the lines near by, as for the newest ones.
        for line in range(self.line, max(-1, self.line - self._span), -1):
            if len(found) == len(ahead):
                return found
            job = self._lines[line]
            if job.round == round and job.member in ahead:
                found[job.member] = job.score
        for member in ahead - found.keys():
            found[member] = self._lines.store.job(self._lines.study, JobId(member, round)).score
        return found

    def jobs(self) -> Sequence[JobRecord]:
        """Return every job finished by then."""
        return tuple(self._lines[line] for line in range(self.line + 1))


def _member(job: JobRecord) -> Member:
    return Member(job.member, job.round, job.score, job.hyperparameters)


def _newest(lines: LogLines, line: int, span: int) -> dict[int, JobRecord]:
    """Return by member the newest job among lines 0 to `line`."""
    known = {view.newest.member: view.newest for view in lines.views if view.newest is not None}
    found: dict[int, JobRecord] = {}
    # Backwards through the lines near by, where most members are. Those that have been silent for
    # longer are searched for one by one, each along its own rounds.
    stop = max(-1, line - span)
    for earlier in range(line, stop, -1):
        job = lines[earlier]
        found.setdefault(job.member, job)
        if len(found) == len(known):
            break
    else:
        if stop >= 0:
            before = lines[stop + 1].finished_at or 0.0
            for member in known.keys() - found.keys():
                job_before = _newest_before(lines, known[member], before)
                if job_before is not None:
                    found[member] = job_before
    return dict(sorted(found.items()))


def _newest_before(lines: LogLines, newest: JobRecord, time: float) -> JobRecord | None:
    """Return the last job that the member of `newest` had reported by then."""

    def job(round_: int) -> JobRecord:
        return lines.store.job(lines.study, JobId(newest.member, round_))

    later = bisect_right(range(newest.round + 1), time, key=lambda r: job(r).finished_at or 0.0)
    return job(later - 1) if later else None

"""The finished lines of a log by their number, read only where somebody looks."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.errors import UnknownJob
from evolvent.store.protocol import Store
from evolvent.store.records import StudyStatus

_FINISHED = (JobState.DONE, JobState.FAILED)
_PAGE = 256
_KEPT = 64  # pages


class LogLines:
    """Line 0 is the job that was reported first. A log of a million jobs costs what is read."""

    def __init__(self, store: Store, status: StudyStatus) -> None:
        self.store, self.study, self.record = store, status.id, status.record
        self.views = store.members(status.id)
        self._n = status.n_finished
        self._pages: dict[int, list[JobRecord]] = {}

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, line: int) -> JobRecord:
        return self._page(line // _PAGE)[line % _PAGE]

    def find(self, job: JobRecord) -> int:
        """Return the line of a finished job.

        Times of reports lead there; where the clock was set back meanwhile, all lines are read.
        """
        # The first line reported at this time or later.
        first = bisect_left(range(self._n), job.finished_at or 0.0, key=self._time)
        for line in range(first, self._n):
            there = self[line]
            if there.id == job.id:
                return line
            if (there.finished_at or 0.0) > (job.finished_at or 0.0):
                break
        # Not where its time says: the clock was set back, so times are no order to search by.
        return next(line for line in range(self._n) if self[line].id == job.id)

    def last_by(self, time: float, *, first: int) -> int:
        """Return the last line that had been reported by a time; at least `first`."""
        return bisect_right(range(first + 1, self._n), time, key=self._time) + first

    def _time(self, line: int) -> float:
        """Return when a line was reported, without reading its neighbours."""
        if line // _PAGE in self._pages:
            return self[line].finished_at or 0.0
        [job] = self.store.jobs(self.study, states=_FINISHED, after=line, limit=1)
        return job.finished_at or 0.0

    def _page(self, number: int) -> list[JobRecord]:
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = self.store.jobs(
                self.study, states=_FINISHED, after=number * _PAGE, limit=_PAGE
            )
            # The oldest page goes: whoever walks along the log does not come back to it.
            if len(self._pages) > _KEPT:
                self._pages.pop(next(iter(self._pages)))
        return page


def find_job(store: Store, status: StudyStatus, job: str) -> JobRecord:
    """Return a job, finished or open, by its id such as `m3r12`.

    Raises:
        UnknownJob: there is none of that id; says which there are.
    """
    id = JobId.parse(job)
    try:
        return store.job(status.id, id)
    except UnknownJob:
        raise UnknownJob(
            f"study {status.record.name!r} has no job {id}: {_available_jobs(store, status, id)}"
        ) from None


def _available_jobs(store: Store, status: StudyStatus, wanted: JobId) -> str:
    if wanted.member >= status.members:
        return f"it has members 0 to {status.members - 1}, rounds 0 to {status.record.rounds - 1}"
    last = store.members(status.id)[wanted.member].current
    if last is None:
        return f"member {wanted.member} has none yet"
    rounds = f"rounds 0 to {last.round}" if last.round else "round 0"
    return f"member {wanted.member} has {rounds} of {status.record.rounds} so far"

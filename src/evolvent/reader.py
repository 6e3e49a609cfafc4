"""One study as its log tells it: what can be read, by whoever may not change it, too."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from evolvent.analysis.explain import Explanation
from evolvent.analysis.html import study_html
from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.core.study import StudyRecord
from evolvent.errors import UnknownJob
from evolvent.result import Result, nested, read_jobs
from evolvent.store.holding import verified
from evolvent.store.protocol import Store
from evolvent.store.records import FailedAttempt, MemberView, Point, StudyStatus


class StudyReader:
    """The reading half of a `Study`."""

    def __init__(self, store: Store, id: int) -> None:
        self.store = store
        self.id = id

    @property
    def record(self) -> StudyRecord:
        """The settings, with `rounds` and `target` as they are now."""
        return self.status().record

    @property
    def name(self) -> str:
        return self.record.name

    def status(self) -> StudyStatus:
        """Return how the study stands: counts of jobs by state, the best, why it stopped."""
        return self.store.status(self.id)

    def result(self) -> Result:
        """Return what the study has come to so far."""
        return Result(self.status(), self.store)

    def jobs(self, state: JobState | str | None = None) -> list[JobRecord]:
        """Return the jobs in the order in which they finished, then the open ones by member."""
        return read_jobs(self.store, self.status(), state)

    def job(self, id: str) -> JobRecord:
        """Return one job by its id, such as `m3r12`.

        Raises:
            UnknownJob: there is none of that id.
        """
        return nested(self.store.job(self.id, JobId.parse(id)), self.status())

    def members(self) -> list[MemberView]:
        """Return the newest finished and the open job of every member."""
        return self.store.members(self.id)

    def lineage(self, id: str) -> list[JobRecord]:
        """Return a job and its ancestors, round 0 first."""
        status = self.status()
        return [nested(job, status) for job in self.store.lineage(self.id, JobId.parse(id))]

    def explain(self, id: str) -> Explanation:
        """Return why a job exists: who was compared with whom, which rule fired, what changed.

        Raises:
            UnknownJob: there is none of that id; says which there are.
        """
        return self.result().explain(id)

    def points(self, id: str) -> list[Point]:
        """Return what training logged within a job."""
        return self.store.points(self.id, JobId.parse(id))

    def failures(self) -> list[FailedAttempt]:
        """Return the newest failed attempts, the newest last."""
        return self.store.failures(self.id)

    def checkpoint(self, id: str) -> Path:
        """Return the directory of a job's checkpoint after checking every byte of it.

        Raises:
            UnknownJob: there is no such job, or it has no checkpoint.
            CheckpointMissing: it has been collected, because nothing needed it and no pin held it.
            CheckpointDamaged: names the damaged file.
        """
        job = self.job(id)
        if job.checkpoint is None:
            raise UnknownJob(f"job {id} is {job.state} and has no checkpoint")
        return verified(self.store.checkpoints(self.id), job.id, job.checkpoint)

    def export(self, path: str | Path, *, checkpoints: str | Iterable[str] = "best") -> Path:
        """Write the study as it is now into one file, which `ev.import_study` opens anywhere.

        It may be running meanwhile. The file is a zip: settings and log as JSON lines, files of
        checkpoints as training saved them. An archive that is there already is replaced.

        Args:
            path: name of the file, such as `digits.zip`.
            checkpoints: which ones come along: `"best"`, that of the best job; `"kept"`, all that
                the study needs to go on; `"pinned"`; `"none"`; or ids of jobs.

        Returns:
            The path.

        Raises:
            ConfigError: `checkpoints` is none of these.
            UnknownJob: a job of that id is not done.
            CheckpointMissing, CheckpointDamaged: names the job and the address.
            ArchiveError: the file cannot be written; what was there before still is.
        """
        from evolvent.archive.choice import chosen  # noqa: PLC0415 - workers need no archives
        from evolvent.archive.writing import export_study  # noqa: PLC0415 - likewise

        export_study(self.store, self.id, path, checkpoints=chosen(checkpoints))
        return Path(path)

    def _repr_html_(self) -> str:
        return study_html(self.status(), self.members(), self.store.url)

    def __repr__(self) -> str:
        return f"<Study {self.name!r} in {self.store.url}>"

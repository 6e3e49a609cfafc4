"""What a study has come to: the best model and the schedule that made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolvent.analysis.schedule import Schedule
from evolvent.core.records import JobRecord, JobState
from evolvent.errors import EvolventError
from evolvent.store.protocol import Store
from evolvent.store.records import StudyStatus


@dataclass(frozen=True, slots=True)
class Best:
    """The job with the best score of a study.

    Attributes:
        job: the job.
        score: its score, higher is better.
        value: the metric as training reported it.
        hyperparameters: what the job trained with, nested as the space is.
        checkpoint: directory with what the job saved, read-only.
        lineage: the job and its ancestors, round 0 first.
        schedule: the hyperparameters along the lineage.
    """

    job: JobRecord
    score: float
    value: float
    hyperparameters: Mapping[str, Any]
    checkpoint: Path
    lineage: tuple[JobRecord, ...]
    schedule: Schedule

    @property
    def member(self) -> int:
        return self.job.member

    @property
    def round(self) -> int:
        return self.job.round


@dataclass(frozen=True, slots=True)
class Result:
    """How a study stands; read from its log, so it may still be running.

    Attributes:
        name: name of the study.
        status: counts, best job and state at the time of reading.
        interrupted: whether the run that returned this was ended by Ctrl-C or SIGTERM.
    """

    status: StudyStatus
    store: Store
    interrupted: bool = False

    @property
    def name(self) -> str:
        return self.status.record.name

    @property
    def best(self) -> Best:
        """The best model so far.

        Raises:
            EvolventError: no job is done yet.
        """
        status, record = self.status, self.status.record
        if status.best is None:
            raise EvolventError(f"study {self.name!r} has no finished job yet, so no best one")
        lineage = [nested(job, status) for job in self.store.lineage(status.id, status.best)]
        job = lineage[-1]
        assert job.score is not None  # the best job is done
        assert job.checkpoint is not None
        return Best(
            job=job,
            score=job.score,
            value=record.score(job.score),
            hyperparameters=job.hyperparameters,
            checkpoint=self.store.checkpoints(status.id).path(job.checkpoint),
            lineage=tuple(lineage),
            schedule=Schedule.of(lineage),
        )

    def jobs(self, state: JobState | str | None = None) -> list[JobRecord]:
        """Return the jobs of the study; see `Study.jobs`."""
        return read_jobs(self.store, self.status, state)

    def __repr__(self) -> str:
        status = self.status
        done = status.counts.get(JobState.DONE, 0)
        best = ""
        if status.best_score is not None:
            best = f", best {status.record.metric} {status.record.score(status.best_score):.6g}"
        return f"<Result of {self.name!r}: {status.state}, {done} jobs done{best}>"


def nested(job: JobRecord, status: StudyStatus) -> JobRecord:
    """Return a job of the log with its hyperparameters nested as the space is."""
    return replace(job, hyperparameters=status.record.space.nest(job.hyperparameters))


def read_jobs(
    store: Store, status: StudyStatus, state: JobState | str | None = None
) -> list[JobRecord]:
    """Return jobs with nested hyperparameters, of one state or all."""
    states = None if state is None else [JobState(state)]
    return [nested(job, status) for job in store.jobs(status.id, states=states)]

"""What a study has come to: the best model and the schedule that made it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolvent.core.records import JobRecord, JobState
from evolvent.core.space import Space, short
from evolvent.errors import EvolventError
from evolvent.store.checkpoints.protocol import CheckpointStore
from evolvent.store.checkpoints.transfer import require
from evolvent.store.protocol import Store
from evolvent.store.records import StudyState, StudyStatus, check_state, nested

if TYPE_CHECKING:
    # A run returns a result: who looks at it imports what that takes.
    from evolvent.analysis.explain.explain import Explanation
    from evolvent.analysis.lineage.diversity import Diversity
    from evolvent.analysis.lineage.family_tree import FamilyTree
    from evolvent.analysis.schedule.schedule import Schedule
    from evolvent.analysis.tables.jobs import Engine
    from evolvent.analysis.tables.table import Table


@dataclass(frozen=True, slots=True)
class Best:
    """The best job of a study: that of the highest score, or of the highest mean of scores.

    Attributes:
        job: the job.
        score: its own score, higher is better.
        value: its own metric as training reported it.
        mean: in a study with `best="mean of N"` what it was chosen by: the mean of the metric over
            the last `n_scores` jobs of its lineage; None where the highest score chooses.
        n_scores: of how many jobs; fewer than N where no lineage has more, 1 without a mean.
        metric: what `value` and `mean` are of.
        hyperparameters: what the job trained with, nested as the space is.
        directory: where what the job saved is, or would be if it were still there.
        lineage: the job and its ancestors, round 0 first.
        schedule: the hyperparameters along the lineage.
        files: the checkpoints of the study.
    """

    job: JobRecord
    score: float
    value: float
    hyperparameters: Mapping[str, Any]
    directory: Path
    lineage: tuple[JobRecord, ...]
    schedule: Schedule
    files: CheckpointStore = field(repr=False, compare=False)
    mean: float | None = None
    n_scores: int = 1
    metric: str = "metric"

    @property
    def checkpoint(self) -> Path:
        """Directory with what the job saved, read-only; brought here if a service keeps it.

        Every byte is checked; what this process has hashed is not read again while nobody touches
        it.

        Raises:
            CheckpointMissing: it is not there: the study was imported without it.
            CheckpointDamaged: names the file that is missing, added, or has other bytes.
        """
        return require(self.files, self.job.id, self.directory.name, verify=True)

    @property
    def kept(self) -> bool:
        """Whether what the job saved can be had, here or from the service."""
        return self.directory.name in self.files

    @property
    def member(self) -> int:
        return self.job.member

    @property
    def round(self) -> int:
        return self.job.round

    def _repr_html_(self) -> str:
        from evolvent.analysis import html
        from evolvent.analysis.schedule.segments import as_html

        values = {"checkpoint": self.directory, "lineage": f"{len(self.lineage)} jobs"}
        schedule = as_html(self.schedule.segments, unit=self.schedule.unit)
        return html.framed(
            f"Best: {self.job.id}", f"{self.value:.6g}{self._mean}", html.facts(values), schedule
        )

    def __str__(self) -> str:
        from evolvent.analysis.comparison.text import counted

        values = Space.flatten(self.hyperparameters)
        n = len(self.schedule.segments)
        parts = "unchanged" if n == 1 else f"in {n} parts, see `best.schedule`"
        lines = [
            f"{self.job.id}: {self.metric} {self.value:.6g}{self._mean}",
            f"hyperparameters  {'  '.join(f'{name} {short(v)}' for name, v in values.items())}",
            f"schedule         {counted(self.schedule.rounds, 'round')} {parts}",
            f"checkpoint       {self.directory}{'' if self.kept else '  (not there)'}",
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Best: {self.job.id}, {self.metric} {self.value:.6g}{self._mean}>"

    @property
    def _mean(self) -> str:
        if self.mean is None:
            return ""
        return f" (mean of the last {self.n_scores}: {self.mean:.6g})"


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
        from evolvent.analysis.schedule.schedule import Schedule

        status, record = self.status, self.status.record
        if status.best is None:
            if status.state is StudyState.FAILED:
                raise EvolventError(f"study {self.name!r} has no best job: all its jobs failed")
            raise EvolventError(f"study {self.name!r} has no finished job yet, so no best one")
        lineage = [nested(job, status) for job in self.store.lineage(status.id, status.best)]
        job = lineage[-1]
        assert job.score is not None  # the best job is done
        assert job.checkpoint is not None
        files = self.store.checkpoints(status.id)
        return Best(
            job=job,
            score=job.score,
            value=record.score(job.score),
            hyperparameters=job.hyperparameters,
            directory=files.path(job.checkpoint),
            lineage=tuple(lineage),
            schedule=Schedule.of(lineage),
            files=files,
            mean=None if record.best_window == 1 else status.best_value,
            n_scores=status.best_scores,
            metric=record.metric,
        )

    def jobs(self, state: JobState | str | None = None, *, engine: Engine = "pandas") -> Any:
        """Return the jobs of the study as they are now, open ones too: a frame, one row a job.

        Finished jobs come in the order in which they finished, then the open ones by member. The
        columns: id, member, round, state, score (higher is better), every metric, every
        hyperparameter by its dotted name, parent, donor, attempt, checkpoint, reason, error,
        worker, started_at, finished_at (UTC), seconds, lease_until (UTC). A hyperparameter or
        metric whose name is taken is called `hyperparameters.NAME` or `metrics.NAME`. For records
        see `Study.jobs`.

        Args:
            state: only jobs in this state; None for all. The columns are always the same.
            engine: `"pandas"` or `"polars"`.

        Raises:
            ConfigError: there is no such state or engine.
            MissingExtra: that library is not installed.
        """
        from evolvent.analysis.tables.jobs import framing

        wanted, frame = check_state(state), framing(engine)
        return frame(self._table(wanted))

    def metrics(self, *names: str, engine: Engine = "pandas") -> Any:
        """Return what training reported: a frame with one row a value, by member and round.

        The columns: member, round, step, name, value. First come the points that training logged
        within a round, each with its step; then, without a step, what the round came to.

        Args:
            names: only these metrics; all without any.
            engine: `"pandas"` or `"polars"`.

        Raises:
            ConfigError: there is no such metric (names those there are) or engine.
            MissingExtra: that library is not installed.
        """
        from evolvent.analysis.tables.jobs import framing
        from evolvent.analysis.tables.metrics import metrics_table

        frame = framing(engine)
        return frame(metrics_table(self.store, self.status.id, names))

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write the jobs, with the columns of `jobs`, as CSV; missing values are empty.

        Raises:
            EvolventError: it cannot be written; what was there before still is.
        """
        from evolvent.analysis.tables import files

        return files.to_csv(self._table, path)

    def to_json(self, path: str | os.PathLike[str]) -> Path:
        """Write the jobs as a JSON list of objects; missing values, NaN and infinities are null.

        Raises:
            EvolventError: it cannot be written; what was there before still is.
        """
        from evolvent.analysis.tables import files

        return files.to_json(self._table, path)

    def to_parquet(self, path: str | os.PathLike[str]) -> Path:
        """Write the jobs as a Parquet file; missing values are null.

        Raises:
            EvolventError: it cannot be written; what was there before still is.
            MissingExtra: pyarrow is not installed.
        """
        from evolvent.analysis.tables import files

        return files.to_parquet(self._table, path)

    def lineage(self, job: str) -> list[JobRecord]:
        """Return a job, given by its id such as `m3r12`, and its ancestors, round 0 first.

        Raises:
            UnknownJob: there is none of that id; says which there are.
        """
        from evolvent.analysis.explain.log_lines import find_job

        last = find_job(self.store, self.status, job)
        ancestors = self.store.lineage(self.status.id, last.id)
        return [nested(ancestor, self.status) for ancestor in ancestors]

    def family_tree(self) -> FamilyTree:
        """Return who descends from whom, over all finished jobs."""
        from evolvent.analysis.lineage.family_tree import FamilyTree
        from evolvent.analysis.log import Log

        return FamilyTree.of(Log.read(self.store, self.status.id))

    def diversity(self) -> Diversity:
        """Return how many founders and how much spread are left, round by round.

        With a warning where copies explore nothing any more, or where noise decides who is copied.
        """
        from evolvent.analysis.lineage.diversity import Diversity
        from evolvent.analysis.log import Log

        return Diversity.of(Log.read(self.store, self.status.id))

    def explain(self, job: str) -> Explanation:
        """Return why a job exists: who was compared with whom, which rule fired, what changed.

        Raises:
            UnknownJob: there is none of that id; says which there are.
        """
        from evolvent.analysis.explain.explain import explain

        return explain(self.store, self.status, job)

    def plot(
        self,
        kind: str = "scores",
        *others: Result,
        file: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> Any:
        """Draw a figure of this study, beside others where the kind shows several.

        Kinds, options, the Altair chart it returns and errors are those of `ev.plot`.
        """
        from evolvent.analysis.log import Log
        from evolvent.analysis.plots.figure import FigureRequest, Options

        request = FigureRequest(kind=kind, options=Options.of(options), file=file)
        results = [self, *others]
        names = [result.name for result in results]
        labels = [n if names.count(n) == 1 else f"{n} ({i + 1})" for i, n in enumerate(names)]
        logs = [[Log.read(result.store, result.status.id)] for result in results]
        return request.draw(dict(zip(labels, logs, strict=True)))

    def _table(self, state: JobState | None = None) -> Table:
        from evolvent.analysis.tables.jobs import jobs_table

        return jobs_table(self.store, self.status.id, state=state)

    def _repr_html_(self) -> str:
        from evolvent.analysis import html
        from evolvent.analysis.schedule.segments import as_html

        title, state = f"Result of {self.name}", html.state_of(self.status)
        values = html.study_facts(self.status)
        if self.status.best is None:
            return html.framed(title, state, html.facts(values))
        best = self.best
        known = html.facts({**values, "checkpoint": best.directory})
        note = html.note(f"The schedule that made {best.job.id}:")
        schedule = as_html(best.schedule.segments, unit=best.schedule.unit)
        return html.framed(title, state, known, note, schedule)

    def __str__(self) -> str:
        from evolvent.analysis.comparison.text import counted

        status, metric = self.status, self.status.record.metric
        failed = f", {status.n_failed} of them failed" if status.n_failed else ""
        why = f" ({status.stopped})" if status.stopped else ""
        head = (
            f"study {self.name}: {status.state}{why}, "
            f"{status.n_finished} of {counted(status.n_total, 'job')}{failed}"
        )
        if status.best_value is None:
            return head
        best = f"best {metric} {status.best_value:.6g}{status.best_note}"
        return f"{head}\n{best} ({status.best}): see `result.best`"

    def __repr__(self) -> str:
        status = self.status
        done = status.counts[JobState.DONE]
        best = ""
        if status.best_value is not None:
            best = f", best {status.record.metric} {status.best_value:.6g}{status.best_note}"
        return f"<Result of {self.name!r}: {status.state}, {done} jobs done{best}>"

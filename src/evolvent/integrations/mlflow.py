"""MLflow: one parent run for a study, one nested run for every member.

Example:
    While it trains, or afterwards from the log::

        study.run(train, loggers=[ev.mlflow.Logger()])
        # mlflow server --backend-store-uri sqlite:///mlflow.db

Parameters are what never changes; hyperparameters change, so they are metrics over steps, and tags
for the values in force. A metric has the times and the step of the log, so that MLflow's database
takes one that is written again for the one it has: nothing comes twice, wherever a writer died.
"""

from __future__ import annotations

import logging
import os
import posixpath
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from evolvent.engines.loggers import protocol
from evolvent.engines.loggers.protocol import By, Entry, SettingValues, StepAxis, StudyProgress
from evolvent.errors import ConfigError, MissingExtra
from evolvent.store.locks import Lock
from evolvent.store.records import StudyState, StudyStatus
from evolvent.validation import check_name

try:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported
    from mlflow.entities import Metric, Param, Run, RunTag
    from mlflow.tracking import MlflowClient
except ImportError as e:
    raise MissingExtra("ev.mlflow needs MLflow: pip install 'evolvent[mlflow]'") from e

__all__ = ["Logger"]

_METRICS_AT_ONCE, _OTHERS_AT_ONCE = 1000, 100  # MLflow takes no more
_LONGEST_NAME, _LONGEST = 250, 4000
_FORBIDDEN = re.compile(r"[^\w\-. :/]", re.ASCII)
_CHANGES_KEPT = 20
_T = TypeVar("_T")
_KEY, _RUN = "evolvent.key", "evolvent.run"
_ENDS = {
    StudyState.FINISHED: "FINISHED",
    StudyState.FAILED: "FAILED",
    StudyState.STOPPED: "KILLED",
}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow from telling on the terminal how it makes its tables; what fails is raised."""
    chatty = logging.getLogger("mlflow.store.db.utils")
    before = chatty.level
    chatty.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        chatty.setLevel(before)


class Logger:
    """Writes a study into MLflow.

    Steps are rounds times `steps_per_round`, because MLflow knows whole steps only: by default the
    5th round of a member ends at step 5000. Metrics are what training reported and logged, the
    hyperparameters (`hyperparameters/…`; of a category its place in the list),
    `evolvent/weights_age` in rounds and, in rounds that began with a copy, `evolvent/copied_from`
    (the member). The description of a run tells its newest changes and their reasons.
    """

    def __init__(
        self,
        place: str | Path | None = None,
        *,
        experiment: str = "evolvent",
        by: By = "member",
        steps_per_round: int = 1000,
    ) -> None:
        """Set up; nothing is written before the study is opened.

        Args:
            place: a tracking URI (`http://…`, `sqlite:///…`), or a directory, made if it is not
                there, for `mlflow.db`; by default MLFLOW_TRACKING_URI, or the working directory.
            experiment: name of the experiment; made if it is not there.
            by: `"member"`, or `"lineage"` for a run for every unbroken line of weights.
            steps_per_round: whole steps of a round: such as your own training steps in a round.

        Raises:
            ConfigError: names the argument, what came and what was wanted.
        """
        target = place if place is not None else os.environ.get("MLFLOW_TRACKING_URI") or "."
        if str(target).startswith("file:"):
            raise ConfigError(
                f"place: got {str(target)!r}: MLflow has given up its store of plain files; wanted "
                "a directory for a database, or a URI such as sqlite:///mlflow.db"
            )
        remote = isinstance(target, str) and (":/" in target or target.startswith("databricks"))
        self._directory = None if remote else protocol.local_directory(target).absolute()
        self._uri = str(target) if remote else f"sqlite:///{self._directory}/mlflow.db"
        self._experiment = check_name("experiment", experiment)
        self._axis = StepAxis(by, steps_per_round)
        self._lock: Lock | None = None
        self._client: MlflowClient | None = None
        self._runs: dict[str, RunState] = {}

    @property
    def place(self) -> str:
        return f"MLflow at {self._uri}"

    def check(self, status: StudyStatus) -> None:  # noqa: ARG002 - any study will do
        """Make the directory of a local database.

        Raises:
            ConfigError: it cannot be written.
        """
        if self._directory is not None:
            protocol.make_directory(self._directory)

    @_quiet()
    def open(self, status: StudyStatus) -> None:
        """Find the runs of the study, or make its parent run."""
        self._runs = {}
        self.check(status)
        if self._directory is not None:
            # One writer a study: two would each find a run missing, and both would make it.
            lock = f".{protocol.file_name(status.record.name)}.mlflow.lock"
            self._lock = self._lock or protocol.lock_for_writing(self._directory / lock)
        self._status, self._values = status, SettingValues(status.record.space)
        self._key = protocol.key(status, self._axis)
        self._client = MlflowClient(self._uri)
        self._experiment_id = _experiment(self._client, self._experiment, self._directory)
        self._runs = {
            run.data.tags[_RUN]: RunState.of(run) for run in self._runs_of_study(self._client)
        }
        self._parent = self._run(self._client, "", status.created_at)
        self._parent.new_params = _named(protocol.settings(status.record))
        self._parent.send(self._client)
        self._tracker = protocol.ProgressTracker(status.record)

    @_quiet()
    def write(self, entries: Sequence[Entry]) -> None:
        """Add what the runs lack."""
        assert self._client is not None
        touched: dict[str, RunState] = {}
        for entry in entries:
            name = self._axis.run(entry)
            run = touched[name] = self._run(self._client, name, entry.at(0.0))
            run.add_entry(entry)
            # Tags are written for every entry, metrics only for rounds that MLflow has not got.
            if entry.job.round + 1 > run.n_rounds:
                run.metrics += self._metrics(entry)
            progress = self._tracker.take(entry)
            if progress is not None:
                touched[""] = self._parent
                self._log_progress(progress, entry)
        for run in touched.values():
            if run.metrics:
                run.set_status("RUNNING", self._client, since=0.0)
            run.send(self._client)

    @_quiet()
    def close(self, status: StudyStatus) -> None:
        """Say how the runs have ended, if they have."""
        if self._client is not None:
            since = status.changed_at or status.created_at
            for run in self._runs.values():
                run.set_status(_ENDS.get(status.state, "RUNNING"), self._client, since=since)
        self._client = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _runs_of_study(self, client: MlflowClient) -> Iterator[Run]:
        token = None
        while True:
            page = client.search_runs(
                [self._experiment_id], f"tags.`{_KEY}` = '{self._key}'", page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _run(self, client: MlflowClient, name: str, since: float) -> RunState:
        """Return a run by its name, made if it is not there; that without a name is the parent."""
        if name not in self._runs:
            study = self._status.record.name
            tags = {_KEY: self._key, _RUN: name, "evolvent.study": study}
            if name:
                tags["mlflow.parentRunId"] = self._parent.id
            made = client.create_run(
                self._experiment_id,
                start_time=_milliseconds(since),
                tags=tags,
                run_name=name or study,
            )
            self._runs[name] = RunState.of(made)
        return self._runs[name]

    def _metrics(self, entry: Entry) -> list[Metric]:
        metrics = [
            Metric(name, value, _milliseconds(entry.at(place)), self._axis.step(entry, place))
            for place, values in entry.points
            for name, value in _named(values).items()
        ]
        values = _named(self._values.of(entry))
        # Comes last: where it is, all before it is there, too.
        values[protocol.ROUND] = values.pop(protocol.ROUND)
        at, step = _milliseconds(entry.at(1.0)), self._axis.step(entry)
        return [*metrics, *(Metric(name, value, at, step) for name, value in values.items())]

    def _log_progress(self, progress: StudyProgress, entry: Entry) -> None:
        if progress.copies:
            self._parent.note(progress.copies)
        if progress.rounds <= self._parent.n_rounds:
            return
        values = {protocol.COPIES: float(len(progress.copies)), protocol.ROUND: progress.rounds}
        if progress.best is not None:
            values = {protocol.BEST: progress.best} | values
        step = int(progress.rounds * self._axis.steps_per_round)
        at = _milliseconds(entry.at(1.0))
        self._parent.metrics += [Metric(name, v, at, step) for name, v in values.items()]


def _experiment(client: MlflowClient, name: str, directory: Path | None) -> str:
    """Return the number of an experiment, made if it is not there."""
    found = client.get_experiment_by_name(name)
    if found is None:
        artifacts = None if directory is None else (directory / "mlartifacts").as_uri()
        return str(client.create_experiment(name, artifact_location=artifacts))
    if found.lifecycle_stage != "active":
        raise ConfigError(
            f"experiment: {name!r} has been deleted in MLflow: restore it, or choose another"
        )
    return str(found.experiment_id)


@dataclass
class RunState:
    """A run: what MLflow has of it, and what it is to get."""

    id: str
    status: str
    n_rounds: int
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[Metric] = field(default_factory=list)
    new_params: dict[str, str] = field(default_factory=dict)
    new_tags: dict[str, str] = field(default_factory=dict)
    changes: deque[str] = field(default_factory=lambda: deque(maxlen=_CHANGES_KEPT))
    n_copies: int = 0

    @classmethod
    def of(cls, run: Run) -> RunState:
        n_rounds = int(run.data.metrics.get(protocol.ROUND, 0))
        return cls(
            run.info.run_id, run.info.status, n_rounds, dict(run.data.params), dict(run.data.tags)
        )

    def add_entry(self, entry: Entry) -> None:
        """Note the values in force and the changes that led to them."""
        now = {name: str(value) for name, value in entry.job.hyperparameters.items()}
        if not self.new_params:
            self.new_params |= _named({f"initial/{n}": value for n, value in now.items()})
        self.new_tags |= _named({protocol.HYPERPARAMETERS + n: value for n, value in now.items()})
        if entry.copied is not None:
            self.n_copies += 1
            self.new_tags["evolvent.copied_from"] = str(entry.copied)
            self.new_tags["evolvent.copies"] = str(self.n_copies)
        change = protocol.change_text(entry)
        if change is not None:
            self.note([f"- {change}"])

    def note(self, changes: Sequence[str]) -> None:
        """Show these changes in the description of the run, and the newest before them."""
        self.changes.extend(changes)
        self.new_tags["mlflow.note.content"] = "\n".join(self.changes)

    def send(self, client: MlflowClient) -> None:
        """Give MLflow what it lacks; a parameter that it has stays as it is."""
        for metrics in _chunks(self.metrics, _METRICS_AT_ONCE):
            client.log_batch(self.id, metrics=metrics, synchronous=True)
        self.metrics = []
        params = {n: v[:_LONGEST] for n, v in self.new_params.items() if n not in self.params}
        for some in _chunks([Param(*item) for item in params.items()], _OTHERS_AT_ONCE):
            client.log_batch(self.id, params=some, synchronous=True)
        self.params |= params
        new_tags = {n: v[-_LONGEST:] for n, v in self.new_tags.items()}
        tags = {n: v for n, v in new_tags.items() if self.tags.get(n) != v}
        for few in _chunks([RunTag(*item) for item in tags.items()], _OTHERS_AT_ONCE):
            client.log_batch(self.id, tags=few, synchronous=True)
        self.tags |= tags

    def set_status(self, status: str, client: MlflowClient, *, since: float) -> None:
        """Set the status of the run, if it is another; `since` in seconds since 1970."""
        if status == self.status:
            return
        if status == "RUNNING":
            client.update_run(self.id, status=status)
        else:
            client.set_terminated(self.id, status=status, end_time=_milliseconds(since))
        self.status = status


def _named(values: Mapping[str, _T]) -> dict[str, _T]:
    """Return values by names that MLflow takes."""
    return {_name(name): value for name, value in values.items()}


def _name(name: str) -> str:
    """Return a name with other characters as their numbers: `top@1` is `top_40_1`."""
    plain = _FORBIDDEN.sub(lambda found: f"_{ord(found[0]):x}_", name)
    if posixpath.normpath(plain) != plain or plain.startswith(("/", "..")):
        plain = plain.replace("/", "_2f_").replace(".", "_2e_")
    if len(plain) > _LONGEST_NAME:
        return plain[: _LONGEST_NAME - 9] + "-" + sha256(plain.encode()).hexdigest()[:8]
    return plain


def _chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _milliseconds(seconds: float) -> int:
    """Return a time as MLflow counts it."""
    return int(1000 * seconds)

"""What a logger is, and what it gets: the finished jobs of a study on axes that only go forward.

A logger keeps nothing of its own that counts: it is derived from the log of a study, may be started
at any time, and finds out from what it has written where to go on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal, Protocol, TypeAlias
from urllib.parse import quote

from evolvent.core.distributions import Choice, Constant, Ordinal
from evolvent.core.records import Hyperparameters, JobId, JobRecord, JobState, Metrics, Value
from evolvent.core.space import Space
from evolvent.core.study import StudyRecord, mean_score
from evolvent.core.values import is_number
from evolvent.errors import ConfigError, EvolventError
from evolvent.store.locks import Lock, try_exclusive
from evolvent.store.records import Point, StudyStatus
from evolvent.validation import check_choice, check_count, cut

By: TypeAlias = Literal["member", "lineage"]

ROUND, AGE = "evolvent/round", "evolvent/weights_age"
COPIED_FROM, FAILED = "evolvent/copied_from", "evolvent/failed"
BEST, COPIES = "evolvent/best", "evolvent/copies"
HYPERPARAMETERS = "hyperparameters/"


@dataclass(frozen=True)
class Entry:
    """One finished job, as a logger gets it.

    Attributes:
        number: its place in the log, from 0.
        job: the job, done or failed, with flat hyperparameters.
        age: how many rounds of training its weights have seen, along their lineage.
        line: the job with which the unbroken line of its weights began: a first round or a copy.
        before: the hyperparameters of the member's last job; None in its first.
        read_points: reads what training logged within the round.
    """

    number: int
    job: JobRecord
    age: int
    line: JobId
    before: Hyperparameters | None
    read_points: Callable[[], Sequence[Point]]

    @property
    def copied(self) -> JobId | None:
        """The job that was copied; None when the member went on from its own last one."""
        return self.job.parent if self.line == self.job.id else None

    @property
    def changed(self) -> dict[str, tuple[Value, Value]]:
        """Hyperparameters that are others than in the member's last job: before and after."""
        before, now = self.before or {}, self.job.hyperparameters
        return {n: (before[n], now[n]) for n in before if n in now and before[n] != now[n]}

    @cached_property
    def points(self) -> list[tuple[float, Metrics]]:
        """Points with their places in the round, between 0 (its start) and 1 (its end)."""
        points = self.read_points()
        return list(zip(_places([p.step for p in points]), (p.values for p in points), strict=True))

    def at(self, place: float) -> float:
        """Return when a place of the round was passed, in seconds since 1970, if evenly trained."""
        end = self.job.finished_at or 0.0
        start = end if self.job.started_at is None else min(self.job.started_at, end)
        return start + place * (end - start)


class Logger(Protocol):
    """Writes a study to somewhere else. All but `check` is called in a thread beside training.

    After `open` it gets the log from its start, whatever it has written before. When a method
    raises, the next call is `open` again.
    """

    @property
    def place(self) -> str:
        """Whereto, for messages: `TensorBoard in runs`."""
        ...

    def check(self, status: StudyStatus) -> None:
        """See whether this study can be written as asked. Quick: before training, no network.

        Raises:
            ConfigError: it cannot. Training does not start.
        """
        ...

    def open(self, status: StudyStatus) -> None:
        """Get ready, and find out what of the study is there already."""
        ...

    def write(self, entries: Sequence[Entry]) -> None:
        """Write entries in the order of the log; leave out those that are there already."""
        ...

    def close(self, status: StudyStatus) -> None:
        """Make everything last, and say how the study has ended if it has. May be called twice."""
        ...


@dataclass(frozen=True, slots=True)
class StepAxis:
    """Which run an entry belongs to, and where it stands there: never before an earlier one.

    Attributes:
        by: `"member"`: a run for every member over its own rounds, through all its copies;
            `"lineage"`: a run for every unbroken line of weights over the rounds that the weights
            have seen: a copy starts a new one where the donor stood.
        steps_per_round: length of a round on the axis, 1 or more.
    """

    by: By = "member"
    steps_per_round: int = 1

    def __post_init__(self) -> None:
        check_choice("by", self.by, ("member", "lineage"))
        check_count("steps_per_round", self.steps_per_round, least=1)

    def run(self, entry: Entry) -> str:
        """Return `m3` for member 3, `m3r12` for the line that began with this job."""
        return f"m{entry.job.member}" if self.by == "member" else str(entry.line)

    def rounds(self, entry: Entry) -> int:
        """Return how many rounds of the run are over with this entry."""
        return entry.job.round + 1 if self.by == "member" else entry.age

    def step(self, entry: Entry, place: float = 1.0) -> int:
        """Return the whole step of a place in the round."""
        return round((self.rounds(entry) - 1 + place) * self.steps_per_round)


class SettingValues:
    """The numbers of an entry by the names under which every logger shows them."""

    def __init__(self, space: Space) -> None:
        self.varied = {n: d for n, d in space.items() if not isinstance(d, Constant)}
        self.listed = {
            name: distribution
            for name, distribution in self.varied.items()
            if isinstance(distribution, (Choice, Ordinal))
            and not all(map(is_number, distribution.values))
        }

    def of(self, entry: Entry) -> dict[str, float]:
        """Return metrics, hyperparameters and marks; of a category, its place in its list."""
        now = entry.job.hyperparameters
        metrics = entry.job.metrics.items()
        numbers = {name: float(x) for name, x in metrics if isinstance(x, (float, int))}
        numbers |= {HYPERPARAMETERS + n: self._number(n, now[n]) for n in self.varied if n in now}
        numbers |= {ROUND: float(entry.job.round + 1), AGE: float(entry.age)}
        if entry.copied is not None:
            numbers[COPIED_FROM] = float(entry.copied.member)
        if entry.job.state is JobState.FAILED:
            numbers[FAILED] = 1.0
        return numbers

    def _number(self, name: str, value: Value) -> float:
        if name in self.listed:
            return float(self.listed[name].place(value))
        return float(value)  # type: ignore[arg-type]  # all others are distributions of numbers


def change_text(entry: Entry) -> str | None:
    """Return in Markdown what is new in a job, and why; None if nothing is."""
    changed = entry.changed
    if entry.copied is None and not changed:
        return None
    values = ", ".join(f"`{n}` {_short(old)} → {_short(new)}" for n, (old, new) in changed.items())
    did = "goes on" if entry.copied is None else f"copied **{entry.copied}**"
    return f"**{entry.job.id}** {did}: {entry.job.reason or values or 'with the same values'}"


def _short(value: Any) -> str:
    """Return a hyperparameter in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class StudyProgress:
    """What loggers write of a study as a whole.

    Attributes:
        rounds: how many rounds the population has trained on average.
        best: the best value of the metric so far, with `best="mean of N"` the mean of the last
            values of the lineage with the best one; None when no job is done yet.
        copies: one text for every copy since the progress before.
    """

    rounds: float
    best: float | None
    copies: tuple[str, ...]


class ProgressTracker:
    """Adds entries up; gives the progress whenever as many jobs finished as there are members."""

    def __init__(self, record: StudyRecord) -> None:
        self._record = record
        self._n_jobs = 0
        self._best: tuple[int, float] | None = None  # of how many scores, and their mean
        self._recent: dict[JobId, tuple[float, ...]] = {}  # the last scores along each lineage
        self._copies: list[str] = []

    def take(self, entry: Entry) -> StudyProgress | None:
        """Take the next entry of the log; return the progress after it if it closes a round."""
        self._n_jobs += 1
        chosen = self._chosen_by(entry.job)
        if chosen is not None and (self._best is None or chosen > self._best):
            self._best = chosen
        if entry.copied is not None:
            self._copies.append(f"- {change_text(entry)}")
        if self._n_jobs % self._record.population:
            return None
        progress = self.now()
        self._copies = []
        return progress

    def now(self) -> StudyProgress:
        """Return how it stands, within a round, too."""
        best = None if self._best is None else self._record.score(self._best[1])
        return StudyProgress(self._n_jobs / self._record.population, best, tuple(self._copies))

    def _chosen_by(self, job: JobRecord) -> tuple[int, float] | None:
        """Return of how many scores the mean may make a job the best, and the mean."""
        window = self._record.best_window
        if job.score is None or window == 1:
            return None if job.score is None else (1, job.score)
        before = () if job.parent is None else self._recent.get(job.parent, ())
        recent = self._recent[job.id] = (*before, job.score)[-window:]
        return len(recent), mean_score(recent)


def settings(record: StudyRecord) -> dict[str, str]:
    """Return what never changes about a study, as texts by name."""
    plain = record.to_json()
    names = (
        "metric", "mode", "best", "population", "seed", "synchronous", "durability", "max_failures",
    )  # fmt: skip
    texts = {name: str(plain[name]) for name in names} | {"algorithm": repr(record.algorithm)}
    return texts | {f"space.{name}": repr(kind) for name, kind in record.space.items()}


def identity(status: StudyStatus, axis: StepAxis) -> dict[str, Any]:
    """Return what tells a study from another of the same name, and one way to write it."""
    study = {"study": status.record.name, "created_at": status.created_at}
    return study | {"by": axis.by, "steps_per_round": axis.steps_per_round}


def key(status: StudyStatus, axis: StepAxis) -> str:
    """Return the identity in twelve characters."""
    return sha256(json.dumps(identity(status, axis)).encode()).hexdigest()[:12]


def file_name(study: str) -> str:
    """Return the name of a study as that of a file or directory, another for every study."""
    quoted = quote(study, safe=" ,;=+@()[]{}!'~")
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted


def local_directory(directory: str | Path) -> Path:
    """Return the path of a directory on this machine.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(directory, (str, Path)) or not str(directory).strip():
        raise ConfigError(f"directory: got {cut(directory)}, wanted the path of a directory")
    if "://" in str(directory):
        raise ConfigError(f"directory: got {cut(str(directory))}, wanted one on this machine")
    return Path(directory)


def make_directory(directory: Path) -> None:
    """Make a directory that can be written.

    Raises:
        ConfigError: it cannot be made or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=directory):
            pass
    except OSError as e:
        raise ConfigError(f"directory: got {str(directory)!r}, which cannot be written: {e}") from e


def lock_for_writing(path: Path) -> Lock:
    """Lock a file beside what a logger writes, until it is released or this process ends.

    Raises:
        EvolventError: another process writes there.
    """
    lock = try_exclusive(path)
    if lock is None:
        raise EvolventError(
            f"{path.parent}: another process (a run with loggers, or `evolvent log`) is writing "
            "this study there"
        )
    return lock


def check_loggers(loggers: Sequence[Logger]) -> list[Logger]:
    """Return the loggers as a list.

    Raises:
        ConfigError: one of them is none.
    """
    if isinstance(loggers, (str, Mapping)) or not isinstance(loggers, Sequence):
        raise ConfigError(
            f"loggers: got {cut(loggers)}, wanted a list such as [ev.tensorboard.Logger('runs')]"
        )
    for logger in loggers:
        # Not by the protocol at runtime: Python 3.11 would ask for `place`, later ones not see what
        # a wrapper passes on.
        names = ("place", "check", "open", "write", "close")
        whole = all(hasattr(type(logger), name) or hasattr(logger, name) for name in names)
        if isinstance(logger, type) or not whole:
            raise ConfigError(
                f"loggers: got {cut(logger)}, wanted a logger such as "
                "ev.tensorboard.Logger('runs'), ev.mlflow.Logger() or ev.wandb.Logger()"
            )
    return list(loggers)


def _places(steps: Sequence[float]) -> list[float]:
    """Spread points over a round by their steps; by their order where the steps go back."""
    n = len(steps)
    span = steps[-1] - steps[0] if n else 0.0
    if span <= 0 or any(b < a for a, b in pairwise(steps)):
        return [(i + 1) / (n + 1) for i in range(n)]
    gap = span / (n - 1)
    return [(step - steps[0] + gap) / (span + 2 * gap) for step in steps]

"""One run in MLflow: what it has, what it is to get, and names that MLflow takes."""

from __future__ import annotations

import posixpath
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TypeVar

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.tracking import MlflowClient

from evolvent.engines.loggers.protocol import HYPERPARAMETERS, ROUND, Entry, change_text

_METRICS_AT_ONCE, _OTHERS_AT_ONCE = 1000, 100  # MLflow takes no more
_LONGEST_NAME, _LONGEST = 250, 4000
_FORBIDDEN = re.compile(r"[^\w\-. :/]", re.ASCII)
_CHANGES_KEPT = 20
_T = TypeVar("_T")


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
    n_seen: int = 0
    n_copies: int = 0

    @classmethod
    def of(cls, run: Run) -> RunState:
        n_rounds = int(run.data.metrics.get(ROUND, 0))
        return cls(
            run.info.run_id, run.info.status, n_rounds, dict(run.data.params), dict(run.data.tags)
        )

    def add_entry(self, entry: Entry) -> None:
        """Note the values in force and the changes that led to them."""
        now = {name: str(value) for name, value in entry.job.hyperparameters.items()}
        if not self.n_seen:
            self.new_params |= named({f"initial/{n}": value for n, value in now.items()})
        self.n_seen += 1
        self.new_tags |= named({HYPERPARAMETERS + n: value for n, value in now.items()})
        if entry.copied is not None:
            self.n_copies += 1
            self.new_tags["evolvent.copied_from"] = str(entry.copied)
            self.new_tags["evolvent.copies"] = str(self.n_copies)
        change = change_text(entry)
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
            client.set_terminated(self.id, status=status, end_time=milliseconds(since))
        self.status = status


def named(values: Mapping[str, _T]) -> dict[str, _T]:
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


def milliseconds(seconds: float) -> int:
    """Return a time as MLflow counts it."""
    return int(1000 * seconds)

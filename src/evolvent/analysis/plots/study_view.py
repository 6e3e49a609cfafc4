"""What every figure asks of a log: values of the metric, the best job, its lineage, the copies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from evolvent.analysis.columns import Column, Numbers, Rows
from evolvent.analysis.log import Log
from evolvent.analysis.plots.axis import Axis
from evolvent.errors import ConfigError, UnknownName


@dataclass(frozen=True, slots=True, eq=False)
class StudyView:
    """A log seen through one metric.

    Attributes:
        log: the log.
        metric: name of the metric that is shown.
        values: float64 [n]: the metric as training reported it; NaN where there is none.
        line: int64 [k]: rows of the best job and its ancestors, round 0 first; empty where no job
            is done. The best is the best by the objective, whichever metric is shown.
    """

    log: Log
    metric: str
    values: Numbers
    line: Rows

    @classmethod
    def of(cls, log: Log, metric: str | None = None) -> StudyView:
        """Look at a log.

        Raises:
            UnknownName: no job has reported that metric; names those there are.
        """
        objective = log.status.record.metric
        name = objective if metric is None else metric
        if name == objective:
            # 0 - score, not -score: a loss of 0 shall not read -0
            values = 0.0 - log.score if log.status.record.mode == "min" else log.score
        elif name in log.metrics:
            values = log.metrics[name]
        else:
            raise unknown("metric", name, [objective, *log.metrics], log)
        best = log.best_row()
        line = np.zeros(0, np.int64) if best is None else log.lineage(best)
        return cls(log, name, np.where(np.isfinite(values), values, np.nan), line)

    @property
    def best(self) -> int | None:
        """The row of the best job; None where no job is done."""
        return int(self.line[-1]) if len(self.line) else None

    @property
    def best_value(self) -> str:
        """The value of the best job, by the objective, with its name; "" where no job is done.

        Where the mean of the last scores has chosen it, with the mean.
        """
        record, best = self.log.status.record, self.best
        if best is None:
            return ""
        value = f"{record.metric} {record.score(float(self.log.score[best])):.6g}"
        if record.best_window == 1:
            return value
        n, mean = (column[best] for column in self.log.last_scores(record.best_window))
        return f"{value} (mean of the last {n}: {record.score(float(mean)):.6g})"

    @property
    def falls(self) -> bool:
        """Whether less of the metric that is shown is better."""
        record = self.log.status.record
        return self.metric == record.metric and record.mode == "min"

    @property
    def study(self) -> str:
        """The name of the study."""
        return self.log.status.record.name

    @property
    def rounds(self) -> int:
        """How many rounds the furthest member has finished."""
        return int(self.log.rows.shape[1])

    @property
    def members(self) -> int:
        """How many members have finished a job."""
        return int((self.log.rows >= 0).any(axis=1).sum())

    def metric_axis(self) -> Axis:
        """Return the axis of the metric."""
        return Axis(self.metric, "linear", self.values)

    def axes(self, names: Sequence[str] = ()) -> list[Axis]:
        """Return the axes of some hyperparameters; of those that vary, when none are named.

        Raises:
            UnknownName: the study has no such hyperparameter; names those it has.
        """
        if names:
            return [Axis.of_hyperparameter(self.log, self._full_name(name)) for name in names]
        found = [name for name in self._names() if name in self.log.hyperparameters]
        axes = [Axis.of_hyperparameter(self.log, name) for name in found]
        return [axis for axis in axes if axis.varies] or axes[:1]

    def _names(self) -> list[str]:
        return list(dict.fromkeys([*self.log.status.record.space, *self.log.hyperparameters]))

    def _full_name(self, name: str) -> str:
        """Return the full name of a hyperparameter; its last part will do if only one has it."""
        there = self._names()
        ending = [full for full in there if full.endswith(f".{name}")]
        if name not in there and len(ending) != 1:
            raise unknown("hyperparameter", name, there, self.log)
        full = name if name in there else ending[0]
        if full not in self.log.hyperparameters:
            raise ConfigError(f"hyperparameter {full}: no finished job of {self.study!r} has it")
        return full


def unknown(what: str, name: str, there: Iterable[str], log: Log) -> UnknownName:
    """Return the error for a name that is not there."""
    listed, study = ", ".join(dict.fromkeys(there)), log.status.record.name
    return UnknownName(f"{what}: study {study!r} has no {name!r}; it has {listed}", field=what)


def legs(rounds: Column) -> Rows:
    """Number the legs of a lineage from 0, by the rounds of its jobs, first to last.

    A new leg begins with a copy that leads back in rounds: members of an asynchronous study may
    copy one that is rounds ahead of them.
    """
    return np.concatenate([[0], np.cumsum(np.diff(rounds) <= 0)]).astype(np.int64)

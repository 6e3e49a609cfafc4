"""The jobs of a study as a table, open ones included, and tables as frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from evolvent.analysis.columns import Column, Rows, joined_mixed
from evolvent.analysis.log import Log, read_with
from evolvent.analysis.tables import table
from evolvent.analysis.tables.table import Cells, Table
from evolvent.core.records import Cause, JobRecord, JobState
from evolvent.store.protocol import Store
from evolvent.store.records import JobColumn
from evolvent.validation import check_choice

Engine: TypeAlias = Literal["pandas", "polars"]
_ENGINES: tuple[Engine, ...] = ("pandas", "polars")

JOB_FIELDS = (
    "id", "member", "round", "state", "score", "parent", "donor", "attempt", "checkpoint",
    "reason", "cause", "error", "worker", "started_at", "finished_at", "seconds", "lease_until",
)  # fmt: skip
"""The fields every job has; a hyperparameter or metric of such a name gets a longer one."""

_OPEN = (JobState.QUEUED, JobState.RUNNING, JobState.CANCELLED)
_STATES = tuple(state.value for state in JobState)
_CAUSES = tuple(cause.value for cause in Cause)
_TEXTS: tuple[JobColumn, ...] = ("checkpoint", "reason", "cause", "error", "worker")


def jobs_table(store: Store, study: int, *, state: JobState | None = None) -> Table:
    """Return one row a job: the finished ones as they were reported, then the open by member.

    With a `state`, only the jobs in it. The columns are always the same.
    """
    # First the open ones: what is reported meanwhile will be found in the log.
    heads = store.jobs(study, states=_OPEN)
    log, columns = read_with(store, study, _TEXTS)
    heads = [job for job in heads if job.id not in log]
    texts = dict(zip(_TEXTS, columns, strict=True))
    for name, column in texts.items():
        column.extend(getattr(job, name) for job in heads)
    jobs = _table(log, Log.of(log.status, heads), heads, texts)
    if state is None:
        return jobs
    chosen = jobs["state"].values == _STATES.index(state)
    return {name: cells.where(chosen) for name, cells in jobs.items()}


def field_names(
    hyperparameters: Iterable[str], metrics: Iterable[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the shortest name that means it, of every hyperparameter and of every metric."""
    taken = {*JOB_FIELDS, *hyperparameters}
    return (
        {n: n if n not in JOB_FIELDS else f"hyperparameters.{n}" for n in hyperparameters},
        {n: n if n not in taken else f"metrics.{n}" for n in metrics},
    )


def framing(engine: Engine) -> Callable[[Table], Any]:
    """Return what makes a frame of pandas or polars out of a table.

    Raises:
        ConfigError: there is no such engine.
        MissingExtra: that library is not installed.
    """
    if check_choice("engine", engine, _ENGINES) == "polars":
        from evolvent.analysis.tables.as_polars import polars_frame  # noqa: PLC0415 - when wanted

        return polars_frame
    from evolvent.analysis.tables.as_pandas import pandas_frame  # noqa: PLC0415 - when wanted

    return pandas_frame


def _table(log: Log, heads: Log, jobs: Sequence[JobRecord], texts: Mapping[str, Any]) -> Table:
    member = np.concatenate([log.member, heads.member])
    round_ = np.concatenate([log.round, heads.round])
    states = [_STATES.index(job.state) for job in jobs]
    finished = np.where(log.failed, _STATES.index("failed"), _STATES.index("done"))
    started = np.concatenate([log.started_at, heads.started_at])
    ended = np.concatenate([log.finished_at, heads.finished_at])
    score = np.concatenate([log.score, heads.score])
    names = [f"m{m}r{r}" for m, r in zip(member.tolist(), round_.tolist(), strict=True)]
    ids, parent = np.array(names, object), _parents(log, jobs)
    donor, fresh = _of_parent(member, parent), parent < 0
    of_space, of_training = field_names(log.hyperparameters, _metrics(log))
    return {
        "id": table.text(ids),
        "member": table.whole(member),
        "round": table.whole(round_),
        "state": table.coded(np.concatenate([finished, np.array(states, np.int64)]), _STATES),
        "score": table.number(score, np.isnan(score)),
        **{name: _metric(log, heads, n) for n, name in of_training.items()},
        **{name: _hyperparameter(log, heads, n) for n, name in of_space.items()},
        "parent": table.text(np.where(fresh, np.array(None), _of_parent(ids, parent))),
        "donor": table.whole(donor, fresh | (donor == member)),
        "attempt": table.whole(np.concatenate([log.attempt, heads.attempt])),
        "checkpoint": table.text(texts["checkpoint"]),
        "reason": table.text(texts["reason"]),
        "cause": table.category(texts["cause"], _CAUSES),
        "error": table.text(texts["error"]),
        "worker": table.category(texts["worker"]),
        "started_at": table.time(started),
        "finished_at": table.time(ended),
        "seconds": table.number(ended - started, np.isnan(ended - started)),
        "lease_until": table.time(_lease_until(jobs, n_finished=len(log))),
    }


def _lease_until(heads: Sequence[JobRecord], *, n_finished: int) -> Column:
    of_open = [math.nan if job.lease_until is None else job.lease_until for job in heads]
    return np.concatenate([np.full(n_finished, np.nan), np.array(of_open, np.float64)])


def _metrics(log: Log) -> list[str]:
    """Return the metrics; that of the study is one even when no job has reported it."""
    metric, names = log.status.record.metric, dict.fromkeys([*log.metrics, *log.others])
    return [*names] if metric in names else [metric, *names]


def _metric(log: Log, heads: Log, name: str) -> Cells:
    values = np.full(len(log) + len(heads), np.nan)
    known = np.zeros(len(values), np.bool_)
    if name in log.metrics:
        values[: len(log)], known[: len(log)] = log.metrics[name], log.reported[name]
    if name not in log.others:
        return table.number(values, ~known)
    mixed = np.full(len(values), None)
    mixed[: len(log)] = log.others[name]
    mixed[known] = values[known]
    return table.scalars(mixed)


def _hyperparameter(log: Log, heads: Log, name: str) -> Cells:
    chunks = [part.hyperparameters[name] for part in (log, heads) if len(part)]
    known = getattr(log.status.record.space.get(name), "values", ())
    return table.scalars(joined_mixed(chunks or [log.hyperparameters[name]]), known)


def _parents(log: Log, jobs: Sequence[JobRecord]) -> Rows:
    """Return the rows that finished and open jobs started from; -1 for fresh weights."""
    heads = [-1 if job.parent is None else log.row(job.parent) for job in jobs]
    return np.concatenate([log.parent, np.array(heads, np.int64)])


def _of_parent(values: Column, parent: Rows) -> Column:
    """Return for each row the value of its parent; anything where it has none."""
    return values[parent] if len(values) else values

"""Logs with given scores, without any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evolvent.analysis.log import Log
from evolvent.core.algorithms import RandomSearch
from evolvent.core.distributions import Uniform
from evolvent.core.records import JobRecord, JobState
from evolvent.core.space import Space
from evolvent.core.study import StudyRecord
from evolvent.store import open_store


def log_of(
    name: str,
    values: Sequence[float | None],
    *,
    population: int = 2,
    seed: int = 0,
    metrics: Sequence[Mapping[str, float]] | None = None,
    **changes: Any,
) -> Log:
    """Return the log of a study that reported these values of its metric; None: a failed job."""
    settings: dict[str, Any] = {"metric": "accuracy", "mode": "max"} | changes
    record = StudyRecord(
        name=name,
        space=Space.of({"lr": Uniform(0.0, 1.0)}),
        algorithm=RandomSearch(),
        population=population,
        rounds=max(1, -(-len(values) // population)),
        seed=seed,
        **settings,
    )
    store = open_store("memory://")
    jobs = [
        JobRecord(
            member=i % population,
            round=i // population,
            state=JobState.FAILED if value is None else JobState.DONE,
            hyperparameters={"lr": 0.5},
            score=None if value is None else record.score(value),
            metrics={}
            if value is None
            else {record.metric: value, **(metrics[i] if metrics else {})},
        )
        for i, value in enumerate(values)
    ]
    return Log.of(store.status(store.create_study(record)), jobs)

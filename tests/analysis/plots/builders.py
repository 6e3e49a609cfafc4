"""Logs for the tests of figures: simulated as columns, of any size, without training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import evolvent as ev
from evolvent.analysis.log import Log
from evolvent.core.records import JobState
from evolvent.core.space import Space
from evolvent.core.study import StudyRecord
from evolvent.store.records import StudyState, StudyStatus

SPACE = {"lr": ev.LogUniform(1e-5, 1.0), "momentum": ev.Uniform(0.1, 0.99)}


def simulated(  # noqa: PLR0913 - the facts of a study, all by name
    members: int = 5,
    rounds: int = 8,
    *,
    name: str = "digits",
    mode: str = "max",
    space: dict[str, Any] | None = None,
    copying: float = 0.2,
    failing: float = 0.0,
    seed: int = 0,
) -> Log:
    """A population that climbs: the worst of each round copy one of the best and change a little.

    Scores are accuracies, or losses when `mode` is "min".
    """
    rng = np.random.default_rng(seed)
    fields = Space.of(SPACE if space is None else space)
    values = {
        n: np.array([d.sample(rng) for _ in range(members)], object) for n, d in fields.items()
    }
    skill = np.full(members, 0.1)
    parent = np.full(members, -1)
    columns: dict[str, list[Any]] = {n: [] for n in ("parent", "score", "failed", *fields)}
    for round_ in range(rounds):
        rate = 0.25 * np.exp(-np.square(_place(fields, values) - 0.6 + 0.4 * round_ / rounds) * 6)
        skill = skill + (0.99 - skill) * rate * rng.uniform(0.5, 1.5, members)
        score = skill + rng.normal(0, 0.01, members)
        failed = rng.random(members) < failing
        columns["parent"].append(parent)
        columns["score"].append(np.where(failed, np.nan, score if mode == "max" else score - 1))
        columns["failed"].append(failed)
        for n in fields:
            columns[n].append(values[n].copy())
        order = np.argsort(np.where(failed, -np.inf, score))
        cut = max(1, int(members * 0.2)) if copying and members > 1 else 0
        parent = round_ * members + np.arange(members)
        donors = np.arange(members)
        donors[order[:cut]] = order[::-1][rng.integers(0, max(cut, 1), cut)]
        parent, skill = parent[donors], skill[donors]
        for n, distribution in fields.items():
            values[n] = values[n][donors]
            for i in np.flatnonzero(donors != np.arange(members)):
                values[n][i] = _changed(distribution, values[n][i], rng)
    n = members * rounds
    score = np.concatenate(columns["score"])
    return Log(
        status=_status(name, mode, fields, members, rounds),
        member=np.tile(np.arange(members, dtype=np.int32), rounds),
        round=np.repeat(np.arange(rounds, dtype=np.int32), members),
        parent=np.concatenate(columns["parent"]).astype(np.int64),
        score=score,
        failed=np.concatenate(columns["failed"]),
        attempt=np.ones(n, np.int32),
        started_at=np.arange(n, dtype=float),
        finished_at=np.arange(n, dtype=float) + 1,
        hyperparameters={name: _column(np.concatenate(columns[name])) for name in fields},
        metrics={
            "accuracy": score if mode == "max" else 1 + score,
            "loss": 1 - score if mode == "max" else -score,
        },
        reported={metric: np.ones(n, bool) for metric in ("accuracy", "loss")},
        rows=np.arange(n).reshape(rounds, members).T.astype(np.int64),
    )


def _place(fields: Space, values: dict[str, Any]) -> Any:
    name, distribution = next(iter(fields.items()))
    if not hasattr(distribution, "low"):
        return 0.5
    low, high = distribution.scaled(distribution.low), distribution.scaled(distribution.high)
    return (np.array([distribution.scaled(v) for v in values[name]]) - low) / (high - low)


def _changed(distribution: Any, value: Any, rng: np.random.Generator) -> Any:
    if hasattr(distribution, "low"):
        return distribution.clip(value * rng.choice((0.8, 1.25)))
    return distribution.sample(rng) if rng.random() < 0.2 else value


def _column(values: Any) -> Any:
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    return values.astype(float) if numbers else values


def _status(name: str, mode: Any, space: Space, members: int, rounds: int) -> StudyStatus:
    record = StudyRecord(
        name=name,
        metric="accuracy" if mode == "max" else "loss",
        mode=mode,
        space=space,
        algorithm=ev.PBT(),
        population=members,
        rounds=rounds,
    )
    return StudyStatus(
        id=1,
        record=record,
        state=StudyState.FINISHED,
        counts={JobState.DONE: members * rounds},
        members=members,
        best=None,
        best_score=None,
        stopped=None,
        created_at=0.0,
        started_at=0.0,
        changed_at=1.0,
    )


def without(log: Log, gone: Any) -> Log:
    """Return a log without some rows, none of which is the parent of one that stays."""
    kept = np.flatnonzero(~np.asarray(gone, bool))
    new = np.full(len(log), -1)
    new[kept] = np.arange(len(kept))
    member, round_ = log.member[kept], log.round[kept]
    shape = (member.max() + 1, round_.max() + 1) if len(kept) else (0, 0)
    rows = np.full(shape, -1, np.int64)
    rows[member, round_] = np.arange(len(kept))
    parent = log.parent[kept]
    return replace(
        log,
        member=member,
        round=round_,
        parent=np.where(parent >= 0, new[parent], -1),
        score=log.score[kept],
        failed=log.failed[kept],
        attempt=log.attempt[kept],
        started_at=log.started_at[kept],
        finished_at=log.finished_at[kept],
        hyperparameters={name: column[kept] for name, column in log.hyperparameters.items()},
        metrics={name: column[kept] for name, column in log.metrics.items()},
        reported={name: column[kept] for name, column in log.reported.items()},
        rows=rows,
    )

"""Builders for tests: a population, the settings of a study, a generator, in one line each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from evolvent.core.algorithms import RandomSearch
from evolvent.core.distributions import LogUniform, Uniform
from evolvent.core.population import History, Population
from evolvent.core.records import Hyperparameters, Member
from evolvent.core.space import Space
from evolvent.core.study import StudyRecord

SPACE = Space({"lr": LogUniform(1e-4, 1.0), "momentum": Uniform(0.1, 0.9)})


def population(
    scores: Iterable[float | None],
    *,
    round: int = 0,
    hyperparameters: Sequence[Hyperparameters] | None = None,
    unavailable: Iterable[int] = (),
    history: History | None = None,
) -> Population:
    """Return members 0, 1, … with these scores.

    Args:
        scores: None for a failed member.
        round: the round that all have finished.
        hyperparameters: one each; None gives member i `lr = 0.1 * (i + 1)`.
        unavailable: numbers of the members whose checkpoint cannot be copied any more.
        history: what the algorithm may ask of the log.
    """
    gone = set(unavailable)
    members = [
        Member(
            i,
            round,
            score,
            hyperparameters[i] if hyperparameters is not None else {"lr": 0.1 * (i + 1)},
            available=i not in gone,
        )
        for i, score in enumerate(scores)
    ]
    return Population(members, history)


def study_record(**changes: Any) -> StudyRecord:
    """Return the settings of a small study in which nobody copies; `changes` are its fields."""
    settings: dict[str, Any] = {
        "name": "digits",
        "metric": "accuracy",
        "mode": "max",
        "space": SPACE,
        "algorithm": RandomSearch(),
        "population": 3,
        "rounds": 4,
        "seed": 1,
        "durability": "process",
    }
    return StudyRecord(**{**settings, **changes})


def seeded(seed: int) -> np.random.Generator:
    """Return a generator for tests of strategies."""
    return np.random.default_rng(seed)

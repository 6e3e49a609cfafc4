"""The settings of a study, for tests of whatever reads or keeps them."""

from __future__ import annotations

from typing import Any

from evolvent.core.algorithms import RandomSearch
from evolvent.core.distributions import LogUniform, Uniform
from evolvent.core.records import JobState
from evolvent.core.space import Space
from evolvent.core.study import StudyRecord
from evolvent.store.records import StudyStatus

SPACE = Space({"lr": LogUniform(1e-4, 1.0), "momentum": Uniform(0.1, 0.9)})


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


def there_are(status: StudyStatus) -> dict[JobState, int]:
    """Return how many jobs there are of each state, without those of which there are none."""
    return {state: n for state, n in status.counts.items() if n}

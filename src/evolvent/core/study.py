"""What a study is before its first job: objective, space, algorithm, population, budget, seed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias

from evolvent.core.algorithms import PBT, Algorithm, algorithm_from_json, algorithm_to_json
from evolvent.core.records import Hyperparameters
from evolvent.core.space import Space
from evolvent.validation import (
    MOST,
    check_choice,
    check_count,
    check_flag,
    check_name,
    check_number,
    check_path,
    cut,
    invalid,
)

Mode: TypeAlias = Literal["max", "min"]
Durability: TypeAlias = Literal["power", "process"]

BEST_PATTERN = "score|mean of ([2-9]|[1-9][0-9]|100)"
"""What `best` may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """The settings of a study; everything else about it is in its log.

    Attributes:
        name: unique in its store, 1 to 100 characters.
        metric: which of the metrics that training returns is the objective.
        mode: whether the metric is to be maximised or minimised.
        space: names of the hyperparameters with their distributions.
        algorithm: what decides after every job. A PBT without `explore` becomes the one for so many
            `rounds` as the study begins with: what is stored, and printed, has its factors.
        population: how many members start, 1 or more.
        rounds: how many rounds each member trains, 1 or more.
        seed: 0 or more; with `synchronous` it fixes the whole log.
        synchronous: decide for all at the end of each round, instead of for each when it is ready.
        initial: flat hyperparameters given by hand for the first members; what they leave out is
            drawn from the space.
        durability: `"power"`: synced before acknowledged; `"process"`: survives kill -9, not a
            power cut.
        max_failures: how often a job that raised is tried again before its member has failed.
        target: stop when the metric reaches it; None for no target. With `best="mean of N"` it is
            the mean of N scores that has to reach it: no single lucky score ends a study.
        trainable: import path `module:name` of the training code, for workers that join without
            naming it; None when it cannot be imported by name.
        best: by what the best job is chosen. `"score"`: the highest score. `"mean of N"`, N from 2
            to 100: the highest mean of the last N scores along its lineage; jobs with fewer scores
            behind them rank below those with more, so that a lucky first round is never the best
            of a long study. It says what is reported as best, and has no say in who is copied.
    """

    name: str
    metric: str
    mode: Mode
    space: Space
    algorithm: Algorithm
    population: int
    rounds: int
    seed: int = 0
    synchronous: bool = False
    initial: tuple[Hyperparameters, ...] = ()
    durability: Durability = "power"
    max_failures: int = 2
    target: float | None = None
    trainable: str | None = None
    best: str = "score"

    def __post_init__(self) -> None:
        # Here, and not in `checked`: no record, wherever it comes from, is without its factors, so
        # that none can be stored without them and change with the rounds when it is extended.
        if isinstance(self.algorithm, PBT):
            object.__setattr__(
                self, "algorithm", self.algorithm.for_rounds(self.rounds, self.space)
            )

    def check_code(self) -> None:
        """Try what the algorithm has of the user's own code on draws from the space.

        Raises:
            ConfigError: it cannot be imported, raises, or returns what is not in the space.
        """
        if isinstance(self.algorithm, PBT):
            self.algorithm.explore_strategy.validate(self.space)

    def checked(self) -> StudyRecord:
        """Return the settings with the types they must have, such as a float given as 1.

        Raises:
            ConfigError: names the setting, what came and what was wanted.
        """
        population = check_count("population", self.population, least=1, most=MOST)
        if len(self.initial) > population:
            got = f"{len(self.initial)} configurations for a population of {population}"
            raise invalid("initial", f"got {got}")
        return replace(
            self,
            name=check_name("name", self.name),
            metric=check_name("metric", self.metric),
            mode=check_choice("mode", self.mode, ("max", "min")),
            population=population,
            rounds=check_count("rounds", self.rounds, least=1, most=MOST),
            seed=check_count("seed", self.seed, least=0),
            synchronous=check_flag("synchronous", self.synchronous),
            initial=tuple(self.space.check(values, partial=True) for values in self.initial),
            durability=check_choice("durability", self.durability, ("power", "process")),
            max_failures=check_count("max_failures", self.max_failures, least=0, most=MOST),
            target=None if self.target is None else check_number("target", self.target),
            trainable=None if self.trainable is None else check_path("trainable", self.trainable),
            best=_check_best(self.best),
        )

    def score(self, value: float) -> float:
        """Turn a value of the metric into a score, where higher is better; its own inverse."""
        return -value if self.mode == "min" else value

    @property
    def best_window(self) -> int:
        """How many scores along a lineage choose the best job: 1 for `"score"`."""
        return 1 if self.best == "score" else int(self.best.rpartition(" ")[2])

    def reached(self, score: float | None, n_scores: int) -> bool:
        """Whether the mean of so many scores along a lineage reaches the target."""
        if self.target is None or score is None or n_scores < self.best_window:
            return False
        return score >= self.score(self.target)

    def to_json(self) -> dict[str, Any]:
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            **plain,
            "space": self.space.to_json(),
            "algorithm": algorithm_to_json(self.algorithm),
            "initial": [dict(values) for values in self.initial],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StudyRecord:
        return cls(
            **{
                **data,
                "space": Space.from_json(data["space"]),
                "algorithm": algorithm_from_json(data["algorithm"]),
                "initial": tuple(data["initial"]),
            }
        )


def mean_score(scores: Sequence[float]) -> float:
    """Return the mean of one score or more, rounded once.

    So it does not depend on their order, that of equal scores is that score, and that of the
    largest there are is finite.
    """
    if len(scores) == 1:
        return scores[0]
    from fractions import Fraction  # noqa: PLC0415 - slow to import, and most studies do without

    return float(sum(map(Fraction, scores)) / len(scores))


def _check_best(best: Any) -> str:
    if isinstance(best, str) and re.fullmatch(BEST_PATTERN, best):
        return best
    wanted = 'wanted "score", or "mean of N" with N from 2 to 100, such as "mean of 3"'
    raise invalid("best", f"got {cut(best)}, {wanted}")

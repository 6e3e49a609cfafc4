"""Builders for the tests of the core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from evolvent.core.algorithms import PBT
from evolvent.core.distributions import (
    Choice,
    Constant,
    Distribution,
    IntUniform,
    LogIntUniform,
    LogUniform,
    Normal,
    Ordinal,
    ReverseLogUniform,
    Uniform,
)
from evolvent.core.population import Population
from evolvent.core.records import Hyperparameters, JobRecord, Member
from evolvent.core.space import Space
from evolvent.core.study import StudyRecord


def seeded(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


class Scores:
    """A history with the scores of each member's lineage."""

    def __init__(self, scores: dict[int, Sequence[float]]) -> None:
        self._scores = scores

    def scores(self, member: int, window: int, *, round: int | None = None) -> Sequence[float]:
        return list(self._scores.get(member, ()))[-window:]

    def round_scores(self, round: int) -> Mapping[int, float | None]:
        return {}

    def jobs(self) -> Sequence[JobRecord]:
        return ()


def population(
    scores: Iterable[float | None],
    *,
    round: int = 4,
    hyperparameters: Callable[[int], Hyperparameters] = lambda i: {"lr": 0.1},
    history: Scores | None = None,
) -> Population:
    """Members 0, 1, … with these scores; None is a failed member."""
    members = [Member(i, round, score, hyperparameters(i)) for i, score in enumerate(scores)]
    return Population(members, history)


def donors(strategy: Any, me: int, peers: Population, *, draws: int = 200) -> set[int | None]:
    """The numbers of all members that the strategy gives `me`, over many seeds."""
    found = (strategy(peers.member(me), peers, rng=seeded(seed)) for seed in range(draws))
    return {None if donor is None else donor.id for donor in found}


def study(**changes: Any) -> StudyRecord:
    settings: dict[str, Any] = {
        "name": "test",
        "metric": "accuracy",
        "mode": "max",
        "space": Space.of({"lr": Uniform(0.0, 1.0)}),
        "algorithm": PBT(),
        "population": 4,
        "rounds": 10,
    }
    return StudyRecord(**{**settings, **changes})


_finite = st.floats(-1e6, 1e6, allow_nan=False)
_positive = st.floats(1e-9, 1e9, allow_nan=False)
_whole = st.integers(-1000, 1000)
_scalars = st.one_of(st.text(max_size=3), st.booleans(), st.none(), st.floats(-9, 9), _whole)


def _pairs(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    return st.tuples(values, values).map(lambda p: tuple(sorted(p))).filter(lambda p: p[0] < p[1])


def _lists() -> st.SearchStrategy[list[Any]]:
    return st.lists(_scalars, min_size=1, max_size=4, unique_by=lambda v: (isinstance(v, bool), v))


def number_distributions() -> st.SearchStrategy[Distribution]:
    return st.one_of(
        _pairs(_finite).map(lambda p: Uniform(*p)),
        _pairs(_positive).map(lambda p: LogUniform(*p)),
        _pairs(st.floats(1e-6, 1e6)).map(lambda p: ReverseLogUniform(1 - p[1], 1 - p[0])),
        integer_distributions(),
        st.tuples(_finite, _positive).map(lambda p: Normal(*p)),
    )


def integer_distributions() -> st.SearchStrategy[Distribution]:
    return st.one_of(
        _pairs(_whole).map(lambda p: IntUniform(*p)),
        _pairs(st.integers(1, 10_000)).map(lambda p: LogIntUniform(*p)),
    )


def distributions() -> st.SearchStrategy[Distribution]:
    return st.one_of(
        number_distributions(),
        _lists().map(Choice),
        _lists().map(lambda values: Choice(values, weights=[1.0 + i for i in range(len(values))])),
        _lists().map(Ordinal),
        _scalars.map(Constant),
    )


def spaces() -> st.SearchStrategy[Space]:
    names = st.sampled_from(["lr", "momentum", "net.width", "net.depth", "a.b.c"])
    return st.dictionaries(names, distributions(), min_size=1, max_size=4).map(Space)

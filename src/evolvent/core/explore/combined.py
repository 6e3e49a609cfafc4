"""Strategies made of strategies: one after the other, or one per hyperparameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from evolvent.core.explore.protocol import Explore
from evolvent.core.records import Hyperparameters, Value
from evolvent.core.space import Space
from evolvent.validation import invalid

ExploreLike: TypeAlias = Explore | Sequence["ExploreLike"] | Mapping[str, "ExploreLike"]
"""A strategy; a sequence of them, applied in turn; or strategies by name of hyperparameter."""


@dataclass(frozen=True, slots=True)
class Chain:
    """One strategy after the other."""

    steps: tuple[Explore, ...]

    def __call__(
        self, hyperparameters: Hyperparameters, space: Space, *, rng: np.random.Generator
    ) -> dict[str, Value]:
        values = {name: hyperparameters[name] for name in space}
        for step in self.steps:
            values = {**values, **step(values, space, rng=rng)}
        return values

    def validate(self, space: Space) -> None:
        """Check every step."""
        for step in self.steps:
            step.validate(space)


@dataclass(frozen=True, slots=True)
class PerName:
    """A strategy of its own for each hyperparameter; those without one stay as they are."""

    strategies: tuple[tuple[str, Explore], ...]

    def __call__(
        self, hyperparameters: Hyperparameters, space: Space, *, rng: np.random.Generator
    ) -> dict[str, Value]:
        values = {name: hyperparameters[name] for name in space}
        for name, strategy in self.strategies:
            values.update(strategy(values, space.only((name,)), rng=rng))
        return values

    def validate(self, space: Space) -> None:
        """Check every strategy against its hyperparameter.

        Raises:
            ConfigError: names the hyperparameter that is not in the space.
        """
        for name, strategy in self.strategies:
            if name not in space:
                raise invalid("explore", f"{name!r} is not in the space, wanted {', '.join(space)}")
            strategy.validate(space.only((name,)))


def as_explore(given: ExploreLike) -> Explore:
    """Return one strategy for what may be one, a sequence of them, or a mapping by name.

    Raises:
        ConfigError: names what is no strategy.
    """
    if isinstance(given, Mapping):
        return PerName(tuple(sorted((n, as_explore(s)) for n, s in Space.flatten(given).items())))
    if isinstance(given, Sequence) and not isinstance(given, str) and given:
        return Chain(tuple(as_explore(step) for step in given))
    if isinstance(given, type) or not callable(given) or not hasattr(given, "validate"):
        wanted = "a strategy such as Perturb(), a list of them, or a dict by hyperparameter"
        raise invalid("explore", f"got {given!r:.80}, wanted {wanted}")
    return given

"""Strategies made of strategies: one after the other, or one per hyperparameter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from evolvent.core.distributions import Choice
from evolvent.core.explore.gaussian import Gaussian
from evolvent.core.explore.perturb import Perturb
from evolvent.core.explore.protocol import Explore
from evolvent.core.explore.resample import Resample
from evolvent.core.records import Hyperparameters, Value
from evolvent.core.space import Space
from evolvent.validation import cut, invalid

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
    """A strategy of its own for each hyperparameter; those without one stay as they are.

    Whoever names a Choice means it to move: `choices` of its strategy makes no difference here.
    """

    strategies: tuple[tuple[str, Explore], ...]

    def __call__(
        self, hyperparameters: Hyperparameters, space: Space, *, rng: np.random.Generator
    ) -> dict[str, Value]:
        values = {name: hyperparameters[name] for name in space}
        for strategy, part in self.parts(space):
            values.update(strategy(values, part, rng=rng))
        return values

    def parts(self, space: Space) -> Iterator[tuple[Explore, Space]]:
        """Yield each strategy, which then moves a Choice, and its part of the space."""
        for name, strategy in self.strategies:
            part = space.only((name,))
            if any(isinstance(distribution, Choice) for distribution in part.values()):
                yield _moving_choices(strategy), part
            else:
                yield strategy, part

    def validate(self, space: Space) -> None:
        """Check every strategy against its hyperparameter.

        Raises:
            ConfigError: names the hyperparameter that is not in the space.
        """
        for name, strategy in self.strategies:
            if name not in space:
                raise invalid("explore", f"{name!r} is not in the space, wanted {', '.join(space)}")
            strategy.validate(space.only((name,)))


def as_explore(given: ExploreLike, name: str | None = None) -> Explore:
    """Return one strategy for what may be one, a sequence of them, or a mapping by name.

    Within a dict, a strategy by name stands for what it has for that name.

    Args:
        given: what may be one.
        name: the hyperparameter that it is for, if it is for one.

    Raises:
        ConfigError: names what is no strategy.
    """
    if isinstance(given, Mapping):
        by_name = sorted(Space.flatten(given).items())
        return PerName(tuple((n, as_explore(one, n)) for n, one in by_name))
    if isinstance(given, PerName) and name is not None:  # such as what PBT.for_rounds wrote out
        found = dict(given.strategies)
        if name not in found:
            names = ", ".join(found)
            raise invalid("explore", f"got for {name} a strategy for {names} only")
        return found[name]
    if isinstance(given, Sequence) and not isinstance(given, str) and given:
        return Chain(tuple(as_explore(step, name) for step in given))
    if isinstance(given, type) or not callable(given) or not hasattr(given, "validate"):
        wanted = "a strategy such as Perturb(), a list of them, or a dict by hyperparameter"
        whose = "" if name is None else f" for {name}"
        raise invalid("explore", f"got {cut(given)}{whose}, wanted {wanted}")
    return given


def explored_names(strategy: Explore, space: Space) -> frozenset[str]:
    """Return what a strategy stands for; all else is static: it goes with the weights."""
    match strategy:
        case Chain(steps=steps):
            return frozenset().union(*(explored_names(step, space) for step in steps))
        case PerName():
            parts = strategy.parts(space)
            return frozenset().union(*(explored_names(one, part) for one, part in parts))
        case Perturb(choices=False) | Gaussian(choices=False) | Resample(choices=False):
            return frozenset(name for name, d in space.items() if not isinstance(d, Choice))
        case _:
            return frozenset(space)


def simple_strategies(strategy: Explore, name: str) -> list[Explore]:
    """Return what changes a hyperparameter, one after the other, chains and dicts taken apart."""
    match strategy:
        case Chain(steps=steps):
            return [simple for step in steps for simple in simple_strategies(step, name)]
        case PerName(strategies=strategies):
            return [s for n, one in strategies if n == name for s in simple_strategies(one, name)]
        case _:
            return [strategy]


def _moving_choices(strategy: Explore) -> Explore:
    match strategy:
        case Chain(steps=steps):
            return Chain(tuple(_moving_choices(step) for step in steps))
        case Perturb() | Gaussian() | Resample():
            return replace(strategy, choices=True)
        case _:
            return strategy

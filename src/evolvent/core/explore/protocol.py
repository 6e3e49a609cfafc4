"""What an explore strategy is."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

import numpy as np

from evolvent.core.records import Hyperparameters, Value
from evolvent.core.space import Space

Bounds: TypeAlias = Literal["clip", "reflect"]
"""What becomes of a value beyond the bounds: the bound itself, or its mirror image inside."""

BOUNDS: tuple[Bounds, ...] = ("clip", "reflect")

Scale: TypeAlias = Literal["value", "one_minus"]
"""What a factor multiplies: the value, or its distance from 1."""

SCALES: tuple[Scale, ...] = ("value", "one_minus")


class Explore(Protocol):
    """How to change what was copied: a frozen dataclass that is called once per decision."""

    def __call__(
        self, hyperparameters: Hyperparameters, space: Space, *, rng: np.random.Generator
    ) -> dict[str, Value]:
        """Return a new value, inside the space, for every name of `space`.

        Args:
            hyperparameters: flat values, those of `space` among them.
            space: what may be changed: all of the study's space, or a part of it.
            rng: where the draws come from; each hyperparameter gets its own.
        """
        ...

    def validate(self, space: Space) -> None:
        """Check before any work starts that the strategy suits these hyperparameters.

        Raises:
            ConfigError: names the hyperparameter that it cannot change, and what could.
        """
        ...

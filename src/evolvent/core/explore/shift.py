"""Shift: one step up or down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from evolvent.core.distributions import Constant, Distribution, Integers, Ordinal
from evolvent.core.explore.moves import shift_ordinal
from evolvent.core.records import Hyperparameters, Value
from evolvent.core.space import Space
from evolvent.validation import invalid


@dataclass(frozen=True, slots=True)
class Shift:
    """Move ordinals by one place and integers by one, up or down alike; stay put at the ends."""

    def __call__(
        self, hyperparameters: Hyperparameters, space: Space, *, rng: np.random.Generator
    ) -> dict[str, Value]:
        return {name: _shifted(hyperparameters[name], d, rng) for name, d in space.items()}

    def validate(self, space: Space) -> None:
        """Accept ordinals, integers and constants.

        Raises:
            ConfigError: names the hyperparameter that has no next value.
        """
        for name, distribution in space.items():
            if not isinstance(distribution, Ordinal | Integers | Constant):
                raise invalid(
                    "explore",
                    f"Shift cannot move {name}, a {type(distribution).__name__}: it takes "
                    "Ordinal and integers; give one strategy per hyperparameter, such as "
                    f"{{{name!r}: Perturb()}}",
                )


def _shifted(value: Value, distribution: Distribution, rng: np.random.Generator) -> Value:
    up = rng.random() < 0.5
    if isinstance(distribution, Ordinal):
        return shift_ordinal(distribution, value, up=up)
    if isinstance(distribution, Constant):
        return value
    return distribution.clip(cast(int, value) + (1 if up else -1))

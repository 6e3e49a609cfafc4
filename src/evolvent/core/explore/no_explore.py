"""No explore: change nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evolvent.core.records import Hyperparameters, Value
from evolvent.core.space import Space


@dataclass(frozen=True, slots=True)
class NoExplore:
    """Keep every hyperparameter as it is."""

    def __call__(
        self, hyperparameters: Hyperparameters, space: Space, *, rng: np.random.Generator
    ) -> dict[str, Value]:
        return {name: hyperparameters[name] for name in space}

    def validate(self, space: Space) -> None:
        """Accept every space."""

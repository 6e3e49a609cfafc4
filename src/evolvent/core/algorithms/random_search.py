"""Random search: the control arm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evolvent.core.population import Population
from evolvent.core.records import Decision, Keep, Member, Stop
from evolvent.core.space import Space


@dataclass(frozen=True, slots=True)
class RandomSearch:
    """Every member trains to the end with the hyperparameters it began with."""

    def decide(
        self, me: Member, population: Population, *, space: Space, rng: np.random.Generator
    ) -> Decision:
        if me.failed:
            return Stop("failed; random search copies nobody")
        return Keep("random search keeps its hyperparameters")

    def validate(self, space: Space, population: int) -> None:
        """Accept every study."""

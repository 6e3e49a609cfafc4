"""What an algorithm is."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from evolvent.core.population import Population
from evolvent.core.records import Decision, Member
from evolvent.core.space import Space


class Algorithm(Protocol):
    """What a member does after each job: a frozen dataclass, stored with the study."""

    def decide(
        self, me: Member, population: Population, *, space: Space, rng: np.random.Generator
    ) -> Decision:
        """Return what `me` does next, from its arguments alone.

        Args:
            me: the member that has just finished a job.
            population: the newest state of all, `me` included, and their history. In an
                asynchronous study peers that are a round ahead have the lower of their last two
                scores: see `Population.after`.
            space: the hyperparameters and what they may be.
            rng: where the draws come from.
        """
        ...

    def validate(self, space: Space, population: int) -> None:
        """Check before any work starts that the algorithm suits this space and number of members.

        Raises:
            ConfigError: names what does not fit.
        """
        ...

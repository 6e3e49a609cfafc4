"""Resample: forget, and draw again."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from evolvent.core.distributions import Choice, Distribution
from evolvent.core.records import Hyperparameters, Value
from evolvent.core.space import Space
from evolvent.validation import check_flag, check_number, invalid


@dataclass(frozen=True, slots=True)
class Resample:
    """Draw every hyperparameter anew from its distribution, each with this probability.

    A Choice stays with the weights, and is redrawn where it is given a strategy by name
    (`explore={"optimizer": Resample(0.1)}`) or with `choices=True`.

    Source: Jaderberg et al. 2017, arXiv:1711.09846, section 4.1.1; 0.25 is the value in wide use.
    """

    probability: float = 0.25
    choices: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_flag("Resample.choices", self.choices)
        if not 0 < check_number("Resample.probability", self.probability) <= 1:
            raise invalid(
                "Resample.probability",
                f"got {self.probability!r}, wanted a number above 0, at most "
                "1; NoExplore() changes nothing",
            )

    def __call__(
        self, hyperparameters: Hyperparameters, space: Space, *, rng: np.random.Generator
    ) -> dict[str, Value]:
        return {name: self._moved(hyperparameters[name], d, rng) for name, d in space.items()}

    def validate(self, space: Space) -> None:
        """Accept every space."""

    def _moved(self, value: Value, distribution: Distribution, rng: np.random.Generator) -> Value:
        if isinstance(distribution, Choice) and not self.choices:
            return value
        return distribution.sample(rng) if rng.random() < self.probability else value

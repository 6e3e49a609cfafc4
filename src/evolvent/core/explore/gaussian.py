"""Gaussian: add noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast

import numpy as np

from evolvent.core.distributions import Distribution, Integers, Listed, Normal, Numbers
from evolvent.core.explore.moves import move_float, move_integer, move_listed
from evolvent.core.explore.protocol import BOUNDS, Bounds
from evolvent.core.records import Hyperparameters, Value
from evolvent.core.rng import draw_normal
from evolvent.core.space import Space
from evolvent.validation import check_choice, check_flag, check_number

RelativeTo: TypeAlias = Literal["width"]


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Add noise of standard deviation `sigma` to every number, then bring it back inside the space.

    The noise is added on the distribution's own scale: to the natural logarithm in LogUniform and
    LogIntUniform, where 0.1 is about ten percent, and to that of the distance from 1 in
    ReverseLogUniform. With `relative_to="width"` it is `sigma` times the width of the interval on
    that scale, or the standard deviation of a Normal: 0.1 fits every interval. An integer moves by
    one at least when there is room; an ordinal moves one place either way, a constant stays. A
    Choice stays with the weights, and is drawn anew where it is given a strategy by name or with
    `choices=True`.

    Source: Jaderberg et al. 2017, arXiv:1711.09846, figure 2.
    """

    sigma: float
    bounds: Bounds = field(default="clip", kw_only=True)
    choices: bool = field(default=False, kw_only=True)
    relative_to: RelativeTo | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_number("Gaussian.sigma", self.sigma, above=0)
        check_choice("Gaussian.bounds", self.bounds, BOUNDS)
        check_flag("Gaussian.choices", self.choices)
        if self.relative_to is not None:
            check_choice("Gaussian.relative_to", self.relative_to, ("width",))

    def __call__(
        self, hyperparameters: Hyperparameters, space: Space, *, rng: np.random.Generator
    ) -> dict[str, Value]:
        return {name: self._moved(hyperparameters[name], d, rng) for name, d in space.items()}

    def validate(self, space: Space) -> None:
        """Accept every space."""

    def draw(self, distribution: Numbers, rng: np.random.Generator) -> float:
        """Draw noise, on the scale of the distribution."""
        return self.step(distribution) * draw_normal(rng)

    def step(self, distribution: Numbers) -> float:
        """Return the standard deviation on the scale of the distribution."""
        if self.relative_to is None:
            return self.sigma
        if isinstance(distribution, Normal):
            return self.sigma * distribution.sd
        return self.sigma * (
            distribution.scaled(distribution.high) - distribution.scaled(distribution.low)
        )

    def target(self, distribution: Numbers, number: float, noise: float) -> float:
        """Return where noise leads, perhaps out of the bounds; of an integer, not rounded."""
        return distribution.unscaled(distribution.scaled(number) + noise)

    def _moved(self, value: Value, distribution: Distribution, rng: np.random.Generator) -> Value:
        if isinstance(distribution, Listed):
            return move_listed(distribution, value, choices=self.choices, rng=rng)
        number, noise = cast(float, value), self.draw(distribution, rng)
        target = self.target(distribution, number, noise)
        if isinstance(distribution, Integers):
            return move_integer(distribution, number, target, up=noise > 0, bounds=self.bounds)
        return move_float(distribution, target, bounds=self.bounds)

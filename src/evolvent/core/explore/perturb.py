"""Perturb: multiply by a factor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, cast

import numpy as np

from evolvent.core.distributions import (
    Distribution,
    Integers,
    Intervals,
    Listed,
    Numbers,
    ReverseLogUniform,
)
from evolvent.core.explore.moves import move_float, move_integer, move_listed
from evolvent.core.explore.protocol import BOUNDS, SCALES, Bounds, Scale
from evolvent.core.records import Hyperparameters, Value
from evolvent.core.rng import draw_index
from evolvent.core.space import Space
from evolvent.validation import check_choice, check_flag, check_number, cut, invalid


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Perturb:
    """Multiply every number by a factor of its own, then bring it back inside the space.

    `Perturb()` draws one of the factors 0.8 and 1.2, `Perturb(factors=(0.5, 2))` one of these, and
    `Perturb(low=0.8, high=1.2)` one evenly between the two. The value itself is multiplied, on a
    logarithmic scale too. An integer moves by one at least, in the direction of the factor, when
    there is room; an ordinal moves one place either way, a constant stays. A Choice has no next
    value: it stays with the weights, and is drawn anew where it is given a strategy by name
    (`explore={"optimizer": Perturb()}`) or with `choices=True`.

    What a factor comes to depends on the scale:

    - `LogUniform`, `LogIntUniform`: a step of the same length everywhere. Where the bounds are no
      more than a few factors apart, most steps end at one of them.
    - `Uniform`, `Normal`: a step in proportion to the value: short near 0, long near an upper
      bound, where many are clipped. The sign never changes, and 0 stays 0 for ever: draw anew now
      and then (`Resample`), or add noise (`Gaussian`).
    - What counts by its distance from 1, such as a momentum, a discount or a decay of averages:
      a factor cannot tell 0.99 from 0.999, and leads from either to the bound or far below. With
      `scale="one_minus"` it multiplies the distance instead, as it does in a `ReverseLogUniform`.
    - An interval that is narrow beside the factors: most steps end at a bound, and are warned of;
      `Gaussian(0.1, relative_to="width")` has steps that fit every interval.
    - `IntUniform`: as `Uniform`, but one at least, so of a value of 2 or 3 half or a third,
      however near to 1 the factor is.
    - `Ordinal`: one place, whatever the factor; with many rounds it goes from end to end.

    Source: Jaderberg et al. 2017, arXiv:1711.09846, section 4.1.1.
    """

    factors: Sequence[float] | None = None
    low: float | None = None
    high: float | None = None
    bounds: Bounds = "clip"
    choices: bool = False
    scale: Scale = "value"

    def __new__(cls, *given: object, **_: object) -> Self:
        """Refuse what is given without a name: elsewhere two numbers are two factors, or a range.

        Raises:
            ConfigError: says both ways to write it.
        """
        if given:
            low, high = ends if len(ends := _numbers(given)) == 2 else (0.8, 1.2)
            wanted = f"Perturb(factors=({low}, {high})) for one of these factors, or "
            wanted += f"Perturb(low={low}, high={high}) for one evenly between the two"
            raise invalid("Perturb", f"got {', '.join(map(repr, given))}, wanted {wanted}")
        return object.__new__(cls)

    def __post_init__(self) -> None:
        check_choice("Perturb.bounds", self.bounds, BOUNDS)
        check_flag("Perturb.choices", self.choices)
        check_choice("Perturb.scale", self.scale, SCALES)
        if self.low is None and self.high is None:
            factors = (0.8, 1.2) if self.factors is None else self.factors
            object.__setattr__(self, "factors", _checked(factors))
        elif self.factors is not None:
            raise invalid(
                "Perturb",
                f"got low={self.low!r}, high={self.high!r} and factors={self.factors!r}, "
                "wanted a range or factors",
            )
        else:
            low, high = _factor("low", self.low), _factor("high", self.high)
            if not low < high:
                raise invalid("Perturb", f"got low={low}, high={high}, wanted low below high")
            object.__setattr__(self, "low", low)
            object.__setattr__(self, "high", high)

    def __repr__(self) -> str:
        """Return how it can be written: with its factors or its range, and what is not default."""
        given = [(f.name, getattr(self, f.name), f.default) for f in fields(self)]
        return f"Perturb({', '.join(f'{n}={x!r}' for n, x, default in given if x != default)})"

    def __call__(
        self, hyperparameters: Hyperparameters, space: Space, *, rng: np.random.Generator
    ) -> dict[str, Value]:
        return {name: self._moved(hyperparameters[name], d, rng) for name, d in space.items()}

    def validate(self, space: Space) -> None:
        """Accept every space; with `scale="one_minus"`, floats that are below 1, and lists.

        Raises:
            ConfigError: names the hyperparameter that has no such distance.
        """
        for name, distribution in space.items():
            below = isinstance(distribution, Intervals) and distribution.high < 1
            if self.scale == "one_minus" and not below and not isinstance(distribution, Listed):
                raise invalid(
                    "explore",
                    f"Perturb(scale='one_minus') cannot move {name}, {distribution!r}: it takes "
                    "floats with an upper bound below 1; give one strategy per hyperparameter, "
                    f"such as {{{name!r}: Perturb()}}",
                )

    def draw(self, rng: np.random.Generator) -> float:
        """Draw a factor."""
        if self.factors is not None:
            return self.factors[draw_index(rng, len(self.factors))]
        low, high = cast(float, self.low), cast(float, self.high)
        return low + rng.random() * (high - low)

    def target(self, distribution: Numbers, number: float, factor: float) -> float:
        """Return where a factor leads, perhaps out of the bounds; of an integer, not rounded."""
        return number * factor if self.multiplies(distribution) else 1 - (1 - number) * factor

    def multiplies(self, distribution: Distribution) -> bool:
        """Return whether a factor multiplies the value itself, and not its distance from 1."""
        return self.scale == "value" and not isinstance(distribution, ReverseLogUniform)

    def _moved(self, value: Value, distribution: Distribution, rng: np.random.Generator) -> Value:
        if isinstance(distribution, Listed):
            return move_listed(distribution, value, choices=self.choices, rng=rng)
        number: float = value  # type: ignore[assignment]  # the others are distributions of numbers
        factor = self.draw(rng)
        target = self.target(distribution, number, factor)
        if not isinstance(distribution, Integers):
            return move_float(distribution, target, bounds=self.bounds)
        if factor == 1:
            return value
        up = (factor > 1) == (number >= 0)
        return move_integer(distribution, number, target, up=up, bounds=self.bounds)


def _numbers(given: Sequence[object]) -> Sequence[object]:
    """Return what was given one by one or in one sequence."""
    return given[0] if len(given) == 1 and isinstance(given[0], (list, tuple)) else given


def _checked(factors: Any) -> tuple[float, ...]:
    if isinstance(factors, str) or not isinstance(factors, Sequence) or not factors:
        raise invalid("Perturb.factors", f"got {cut(factors)}, wanted one or more factors")
    return tuple(_factor("factors", factor) for factor in factors)


def _factor(name: str, value: object) -> float:
    return check_number(f"Perturb.{name}", value, above=0)

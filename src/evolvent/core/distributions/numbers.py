"""Distributions of numbers: an interval or a bell, plain or logarithmic, floats or integers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from sys import float_info
from typing import Any, ClassVar

import numpy as np

from evolvent.core.distributions.checks import Checked, as_number
from evolvent.core.rng import draw_normal
from evolvent.errors import OutOfSpace
from evolvent.validation import check_number, invalid

_EXACT = 2**53
"""Beyond it a float, with which we compute, no longer tells one integer from the next."""
_LOG_MAX = math.log(float_info.max)


@dataclass(frozen=True, slots=True, repr=False)
class _Interval(Checked):
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    initial: Any = field(default=None, kw_only=True)

    _log: ClassVar[bool] = False
    _whole: ClassVar[bool] = False

    def __post_init__(self) -> None:
        owner = type(self).__name__
        for name in ("low", "high"):
            object.__setattr__(self, name, self._bound(f"{owner}.{name}", getattr(self, name)))
        if not self.low < self.high or not math.isfinite(self.high - self.low):
            raise invalid(
                owner,
                f"got low={self.low}, high={self.high}, wanted low below high and a "
                "finite distance; a single value is a Constant",
            )

        if self._whole and isinstance(self.initial, _Interval) and not self.initial._whole:
            raise invalid(f"{owner}.initial", f"got {self.initial!r}, wanted one of integers")
        self._check_initial()

    def extremes(self) -> tuple[float, float]:
        """Return the bounds."""
        return self.low, self.high

    def sample(self, rng: np.random.Generator) -> float:
        """Draw one value."""
        # An integer has the stretch up to the next one, or `high` would never come; `clip` takes
        # back what rounding in exp and log leads past the bounds.
        low, high = self.scaled(self.low), self.scaled(self.high + 1 if self._whole else self.high)
        drawn = self.unscaled(low + rng.random() * (high - low))
        return self.clip(math.floor(drawn) if self._whole else drawn)

    def check(self, value: Any) -> float:
        """Return the value with its own type; OutOfSpace when it is none of this distribution."""
        number = as_number(value, self.expected)
        if not self.low <= number <= self.high or (self._whole and number != round(number)):
            raise OutOfSpace(f"got {value!r}, wanted {self.expected}")
        return self._typed(number)

    def clip(self, value: Any) -> float:
        """Return the nearest value there is; OutOfSpace when `value` is no number."""
        if type(value) is float and self.low <= value <= self.high and not self._whole:
            return value
        return self._typed(min(max(as_number(value, self.expected), self.low), self.high))

    def reflect(self, value: Any) -> float:
        """Return the value, mirrored at the bounds on the distribution's own scale."""
        number = as_number(value, self.expected)
        x = self.scaled(number)
        if self.low <= number <= self.high or not math.isfinite(x):
            return self.clip(number)
        low, span = self.scaled(self.low), self.scaled(self.high) - self.scaled(self.low)
        beyond = (x - low) % (2 * span)
        return self.clip(self.unscaled(low + min(beyond, 2 * span - beyond)))

    def scaled(self, value: float) -> float:
        """Return the value on the scale on which the distribution is even."""
        if not self._log:
            return value
        return math.log(value) if value > 0 else -math.inf

    def unscaled(self, x: float) -> float:
        """Undo `scaled`."""
        return math.exp(min(x, _LOG_MAX)) if self._log else x

    @property
    def expected(self) -> str:
        return f"{'an integer' if self._whole else 'a number'} from {self.low} to {self.high}"

    def _typed(self, number: float) -> float:
        return round(number) if self._whole else float(number)

    def _bound(self, field: str, value: Any) -> float:
        number = check_number(field, value)
        if self._log and number <= 0:
            raise invalid(field, f"got {value!r}, wanted a number above 0")
        if self._whole and (number != round(number) or abs(number) > _EXACT):
            raise invalid(field, f"got {value!r}, wanted an integer, at most 2**53 in size")
        return self._typed(number)


class Uniform(_Interval):
    """A float from `low` to `high`, evenly."""

    __slots__ = ()


class LogUniform(_Interval):
    """A float from `low` to `high`, both above 0: every factor is as likely."""

    __slots__ = ()
    _log = True


class ReverseLogUniform(_Interval):
    """A float from `low` to `high`, both below 1: every factor of its distance from 1 is as likely.

    For discounts, momenta and decays of averages, where 0.99 and 0.999 are as far apart as 0.9 and
    0.99 are. Exploring steps on that scale, too: a factor of `Perturb` multiplies the distance.
    """

    __slots__ = ()

    def scaled(self, value: float) -> float:
        """Return the value on the scale on which the distribution is even."""
        return -math.log(1 - value) if value < 1 else math.inf

    def unscaled(self, x: float) -> float:
        """Undo `scaled`."""
        return -math.expm1(min(-x, _LOG_MAX))

    def _bound(self, field: str, value: Any) -> float:
        number = check_number(field, value)
        if number >= 1:
            raise invalid(field, f"got {value!r}, wanted a number below 1")
        return number


class IntUniform(_Interval):
    """An integer from `low` to `high`, both included, evenly."""

    __slots__ = ()
    _whole = True


class LogIntUniform(_Interval):
    """An integer from `low` to `high`, both included and above 0: every factor is as likely."""

    __slots__ = ()
    _log = _whole = True


@dataclass(frozen=True, slots=True, repr=False)
class Normal(Checked):
    """A float around `mean` with standard deviation `sd`; it has no bounds."""

    mean: float
    sd: float
    initial: Any = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", check_number("Normal.mean", self.mean))
        object.__setattr__(self, "sd", check_number("Normal.sd", self.sd, above=0))
        self._check_initial()

    def sample(self, rng: np.random.Generator) -> float:
        """Draw one value."""
        return self.clip(self.mean + self.sd * draw_normal(rng))

    def check(self, value: Any) -> float:
        """Return the value as a float; OutOfSpace when it is no finite number."""
        number = as_number(value, self.expected)
        if not abs(number) <= float_info.max:
            raise OutOfSpace(f"got {value!r}, wanted {self.expected}")
        return float(number)

    def clip(self, value: Any) -> float:
        """Return the nearest finite float; OutOfSpace when `value` is no number."""
        return float(min(max(as_number(value, self.expected), -float_info.max), float_info.max))

    def reflect(self, value: Any) -> float:
        """Return `clip(value)`: there are no bounds to be mirrored at."""
        return self.clip(value)

    def scaled(self, value: float) -> float:
        """Return the value: the scale is the plain one."""
        return value

    def unscaled(self, x: float) -> float:
        """Undo `scaled`."""
        return x

    @property
    def expected(self) -> str:
        return "a finite number"

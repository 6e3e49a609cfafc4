"""Distributions over values that are listed: categories, ordered steps, constants."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from numbers import Integral
from typing import Any

import numpy as np

from evolvent.core.distributions.checks import Checked, is_number
from evolvent.core.records import Value
from evolvent.core.rng import draw_index
from evolvent.errors import OutOfSpace
from evolvent.validation import check_number, invalid


class _Exact(Checked):
    """What accepts its own values only: none is nearest to another."""

    __slots__ = ()

    def clip(self, value: Any) -> Value:
        """Return `check(value)`: none is nearest."""
        return self.check(value)

    def reflect(self, value: Any) -> Value:
        """Return `check(value)`: none is nearest."""
        return self.check(value)


@dataclass(frozen=True, slots=True)
class _Listed(_Exact):
    """One of a few values: strings, numbers, booleans or None."""

    values: Sequence[Value]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _scalars(type(self).__name__, self.values))

    def sample(self, rng: np.random.Generator) -> Value:
        """Draw one value."""
        return self.values[draw_index(rng, len(self.values))]

    def check(self, value: Any) -> Value:
        """Return the value as it stands in the list; OutOfSpace when it is not there."""
        return self.values[self.place(value)]

    def place(self, value: Any) -> int:
        """Return where in the list the value stands; 2 finds 2.0 but 1 does not find True."""
        for place, there in enumerate(self.values):
            if there == value and _kind(there) is _kind(value):
                return place
        raise OutOfSpace(f"got {value!r:.80}, wanted {self.expected}")

    @property
    def expected(self) -> str:
        return f"one of {', '.join(map(repr, self.values))}"


@dataclass(frozen=True, slots=True)
class Choice(_Listed):
    """One of `values`, which have no order; with `weights` some are likelier."""

    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        # Named, because slots=True replaces the class that a bare super() would refer to.
        _Listed.__post_init__(self)
        if self.weights is None:
            return
        weights = tuple(check_number("Choice.weights", w) for w in self.weights)
        if len(weights) != len(self.values) or min(weights) < 0 or not sum(weights) > 0:
            raise invalid(
                "Choice.weights",
                f"got {weights}, wanted {len(self.values)} numbers, none below 0 and not all 0",
            )
        object.__setattr__(self, "weights", weights)

    def sample(self, rng: np.random.Generator) -> Value:
        """Draw one value by the weights."""
        if self.weights is None:
            return _Listed.sample(self, rng)
        total = list(accumulate(self.weights))
        return self.values[bisect(total, rng.random() * total[-1])]


class Ordinal(_Listed):
    """One of `values`, which stand in a meaningful order."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Constant(_Exact):
    """Always `value`."""

    value: Value

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _scalars("Constant", (self.value,))[0])

    def sample(self, rng: np.random.Generator) -> Value:
        """Return the value."""
        return self.value

    def check(self, value: Any) -> Value:
        """Return the constant; OutOfSpace when `value` is another."""
        if value != self.value or _kind(value) is not _kind(self.value):
            raise OutOfSpace(f"got {value!r:.80}, wanted {self.expected}")
        return self.value

    @property
    def expected(self) -> str:
        return f"the constant {self.value!r}"


def _scalars(owner: str, values: Any) -> tuple[Value, ...]:
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise invalid(f"{owner}.values", f"got {values!r:.80}, wanted a list of one or more values")
    plain = tuple(_scalar(owner, value) for value in values)
    if len({(isinstance(value, bool), value) for value in plain}) < len(plain):
        raise invalid(f"{owner}.values", f"got {values!r:.80}, wanted each value once")
    return plain


def _scalar(owner: str, value: Any) -> Value:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if is_number(value):
        return int(value) if isinstance(value, Integral) else check_number(owner, float(value))
    raise invalid(owner, f"got {value!r:.80}, wanted strings, numbers, booleans or None")


def _kind(value: Any) -> type:
    """Return the type, with all numbers taken as one."""
    if is_number(value):
        return float
    return str if isinstance(value, str) else type(value)

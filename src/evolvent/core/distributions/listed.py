"""Distributions over values that are listed: categories, ordered steps, constants."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np

from evolvent.core.distributions.checks import Checked
from evolvent.core.records import Value
from evolvent.core.rng import draw_index
from evolvent.core.values import checked_value, copied, identity, plainer, stored
from evolvent.errors import OutOfSpace
from evolvent.validation import check_number, cut, invalid


class _Exact(Checked):
    """What accepts its own values only: none is nearest to another."""

    __slots__ = ()

    def clip(self, value: Any) -> Value:
        """Return `check(value)`: none is nearest."""
        return self.check(value)

    def reflect(self, value: Any) -> Value:
        """Return `check(value)`: none is nearest."""
        return self.check(value)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Listed(_Exact):
    """One of a few values: strings, numbers, booleans, None, or lists and dicts of them.

    Equal are those whose values are, tuples and lists alike.
    """

    values: Sequence[Value]
    initial: Any = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _listed(type(self).__name__, self.values))
        self._check_initial()
        if isinstance(self.initial, Constant):  # in JSON, so is a value that looks like another
            object.__setattr__(self, "initial", self.check(self.initial.value))

    def extremes(self) -> Sequence[Value]:
        """Return all values."""
        return self.values

    def sample(self, rng: np.random.Generator) -> Value:
        """Draw one value, as the log has it: with lists for tuples."""
        return stored(self.values[draw_index(rng, len(self.values))])

    def check(self, value: Any) -> Value:
        """Return the value as the log has it; OutOfSpace when it is not in the list."""
        return stored(self.values[self.place(value)])

    def given(self, value: Any) -> Value:
        """Return a copy of the value as it was given: a list or a tuple; likewise."""
        return copied(self.values[self.place(value)])

    def place(self, value: Any) -> int:
        """Return where in the list the value stands; 2 finds 2.0 but 1 does not find True."""
        wanted = identity(value)
        for place, there in enumerate(self.values):
            if identity(there) == wanted:
                return place
        raise OutOfSpace(f"got {cut(value)}, wanted {self.expected}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[Any, ...]:
        initial = self.initial
        return (
            type(self),
            identity(self.values),
            initial if isinstance(initial, Checked) or initial is None else identity(initial),
        )

    @property
    def expected(self) -> str:
        return f"one of {', '.join(map(repr, self.values))}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
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
        return stored(self.values[bisect(total, rng.random() * total[-1])])

    def _identity(self) -> tuple[Any, ...]:
        return *_Listed._identity(self), self.weights


class Ordinal(_Listed):
    """One of `values`, which stand in a meaningful order."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, eq=False)
class Constant(_Exact):
    """Always `value`: a string, a number, a boolean, None, or a list or dict of them.

    Equal are those whose values are, tuples and lists alike.
    """

    value: Value

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", checked_value("Constant", self.value))

    @property
    def initial(self) -> None:
        """There is no other value to start with."""
        return None

    def extremes(self) -> Sequence[Value]:
        """Return the value."""
        return (self.value,)

    def sample(self, rng: np.random.Generator) -> Value:
        """Return the value, as the log has it: with lists for tuples."""
        return stored(self.value)

    def check(self, value: Any) -> Value:
        """Return the constant as the log has it; OutOfSpace when `value` is another."""
        return stored(self.given(value))

    def given(self, value: Any) -> Value:
        """Return a copy of the constant as it was given: a list or a tuple; likewise."""
        if identity(value) != identity(self.value):
            raise OutOfSpace(f"got {cut(value)}, wanted {self.expected}")
        return copied(self.value)

    @property
    def expected(self) -> str:
        return f"the constant {cut(self.value)}"

    def __eq__(self, other: object) -> bool:
        if type(other) is not Constant:
            return NotImplemented
        return identity(self.value) == identity(other.value)

    def __hash__(self) -> int:
        return hash(identity(self.value))


def _listed(owner: str, values: Any) -> tuple[Value, ...]:
    if hasattr(values, "tolist"):  # of NumPy, pandas and others
        values = values.tolist()
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        order = ", which has no order" if isinstance(values, (set, frozenset)) else ""
        wanted = plainer(values) or "wanted a list of one or more values"
        raise invalid(f"{owner}.values", f"got {cut(values)}{order}, {wanted}")
    plain = tuple(checked_value(owner, value) for value in values)
    if len(set(map(identity, plain))) < len(plain):
        raise invalid(f"{owner}.values", f"got {cut(values)}, wanted each value once")
    return plain

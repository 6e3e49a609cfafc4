"""Checks that all distributions share."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

from evolvent.core.records import Value
from evolvent.errors import OutOfSpace


class Checked:
    """What refuses values that are none of its own.

    No ABC, of which `isinstance` takes many times as long: exploring asks it for every value.

    Attributes:
        check: each has this method, which returns a value as it is kept, or raises OutOfSpace.
    """

    __slots__ = ()

    check: Callable[[Any], Value]

    def contains(self, value: Any) -> bool:
        """Return whether `check` accepts the value."""
        try:
            self.check(value)
        except OutOfSpace:
            return False
        return True


def is_number(value: Any) -> bool:
    """Return whether the value is a real number, of NumPy or not; a bool is none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def as_number(value: Any, expected: str) -> float:
    """Return a number, perhaps infinite; OutOfSpace when the value is none."""
    if type(value) is int:
        return value
    number = float(value) if is_number(value) else float("nan")
    if number != number:  # noqa: PLR0124 - that is how one asks for NaN
        raise OutOfSpace(f"got {value!r:.80}, wanted {expected}")
    return number

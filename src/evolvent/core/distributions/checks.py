"""Checks that all distributions share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evolvent.core.records import Value
from evolvent.core.values import is_number
from evolvent.errors import OutOfSpace
from evolvent.validation import unboxed


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


def as_number(value: Any, expected: str) -> float:
    """Return a number, perhaps infinite; OutOfSpace when the value is none."""
    if type(value) is int:
        return value
    plain = unboxed(value)
    number = float(plain) if is_number(plain) else float("nan")
    if number != number:  # noqa: PLR0124 - that is how one asks for NaN
        raise OutOfSpace(f"got {value!r:.80}, wanted {expected}")
    return number

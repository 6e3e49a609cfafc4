"""Checks that all distributions share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from evolvent.core.records import Value
from evolvent.core.values import is_number
from evolvent.errors import OutOfSpace
from evolvent.validation import cut, invalid, unboxed


class Checked:
    """What refuses values that are none of its own.

    No ABC, of which `isinstance` takes many times as long: exploring asks it for every value.

    Attributes:
        check: each has this method, which returns a value as it is kept, or raises OutOfSpace.
        sample: and this one, which draws a value.
        expected: what a value has to be, in words.
        initial: what a member starts with, a distribution or a value within this one; None for
            this one itself. Exploring moves within this one, and draws anew from it.
    """

    __slots__ = ()

    check: Callable[[Any], Value]
    sample: Callable[[np.random.Generator], Value]
    expected: Any
    initial: Any

    def sample_initial(self, rng: np.random.Generator) -> Value:
        """Draw what a member starts with."""
        if self.initial is None:
            return self.sample(rng)
        fixed = not isinstance(self.initial, Checked)
        return self.check(self.initial if fixed else self.initial.sample(rng))

    def extremes(self) -> Sequence[Value] | None:
        """Return values of which all lie within another distribution if this one does."""
        return None

    def _check_initial(self) -> None:
        owner, initial = f"{type(self).__name__}.initial", self.initial
        extremes: Sequence[Value] | None = (initial,)
        if isinstance(initial, Checked):
            extremes = initial.extremes()
            if initial.initial is not None:
                raise invalid(owner, f"got {cut(initial)}, wanted one without its own initial")
        if initial is None or (extremes is None and self.extremes() is None):
            return
        if extremes is None:
            raise invalid(owner, f"got {cut(initial)}, which has no bounds, wanted {self.expected}")
        try:
            kept = [self.check(value) for value in extremes]
        except OutOfSpace as e:
            raise invalid(owner, str(e)) from None
        if not isinstance(initial, Checked):
            object.__setattr__(self, "initial", kept[0])

    def __repr__(self) -> str:
        """Return how it can be written; without `initial` where there is none."""
        names = [f.name for f in fields(self)]  # type: ignore[arg-type]  # each is a dataclass
        shown = [n for n in names if n != "initial" or self.initial is not None]
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in shown)})"

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
        raise OutOfSpace(f"got {cut(value)}, wanted {expected}")
    return number

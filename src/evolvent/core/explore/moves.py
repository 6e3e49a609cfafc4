"""Moves that several explore strategies share."""

from __future__ import annotations

import numpy as np

from evolvent.core.distributions import Choice, Floats, Integers, Listed, Ordinal
from evolvent.core.explore.protocol import Bounds
from evolvent.core.records import Value


def move_float(distribution: Floats, target: float, *, bounds: Bounds) -> float:
    """Return `target`, brought inside the bounds."""
    return distribution.clip(target) if bounds == "clip" else distribution.reflect(target)


def move_integer(
    distribution: Integers, value: float, target: float, *, up: bool, bounds: Bounds
) -> float:
    """Return `target` as an integer inside the bounds: `value` itself only where there is no room.

    Args:
        distribution: the bounds.
        value: where the move starts.
        target: where it would end, not rounded.
        up: the way to go when rounding would undo the move.
        bounds: what becomes of a target beyond the bounds. "clip" has no room at the bound,
            "reflect" has room on its other side.
    """
    moved = whole_target(value, target, up=up)
    if bounds == "clip":
        return distribution.clip(moved)
    reflected = distribution.reflect(moved)
    if reflected != value:
        return reflected
    step = 1 if up else -1
    onward = distribution.clip(value + step)
    return onward if onward != value else distribution.clip(value - step)


def whole_target(value: float, target: float, *, up: bool) -> float:
    """Return `target`, or the integer next to `value` where rounding would undo the move.

    Else a small integer would never be explored.
    """
    return value + (1 if up else -1) if abs(target - value) <= 0.5 else target


def move_listed(
    distribution: Listed, value: Value, *, choices: bool, rng: np.random.Generator
) -> Value:
    """Shift an ordinal by one place either way, redraw a choice with `choices`; keep the others."""
    if isinstance(distribution, Ordinal):
        return shift_ordinal(distribution, value, up=rng.random() < 0.5)
    if isinstance(distribution, Choice) and choices:
        return distribution.sample(rng)
    return value


def shift_ordinal(distribution: Ordinal, value: Value, *, up: bool) -> Value:
    """Return the next value up or down the list; at its end, the value itself."""
    place = distribution.place(value) + (1 if up else -1)
    return distribution.values[min(max(place, 0), len(distribution.values) - 1)]

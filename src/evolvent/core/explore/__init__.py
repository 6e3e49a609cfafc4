"""Explore: how to change what was copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evolvent.core.codec import by_name, decode, encode
from evolvent.core.explore.combined import (
    Chain,
    ExploreLike,
    PerName,
    as_explore,
    explored_names,
)
from evolvent.core.explore.custom import CustomExplore, UnrepeatableExplore
from evolvent.core.explore.default import ROUNDS, default_explore, is_default_explore
from evolvent.core.explore.gaussian import Gaussian
from evolvent.core.explore.no_explore import NoExplore
from evolvent.core.explore.nothing_explored import NothingExplored, warn_of_nothing_explored
from evolvent.core.explore.perturb import Perturb
from evolvent.core.explore.protocol import Explore
from evolvent.core.explore.resample import Resample
from evolvent.core.explore.shift import Shift
from evolvent.core.explore.too_large import StepsTooLarge, warn_of_large_steps
from evolvent.core.explore.zero import ZeroTrap, warn_of_zero_traps

__all__ = [
    "EXPLORE",
    "ROUNDS",
    "Chain",
    "CustomExplore",
    "Explore",
    "ExploreLike",
    "Gaussian",
    "NoExplore",
    "NothingExplored",
    "PerName",
    "Perturb",
    "Resample",
    "Shift",
    "StepsTooLarge",
    "UnrepeatableExplore",
    "ZeroTrap",
    "as_explore",
    "default_explore",
    "explore_from_json",
    "explore_to_json",
    "explored_names",
    "is_default_explore",
    "warn_of_large_steps",
    "warn_of_nothing_explored",
    "warn_of_zero_traps",
]

EXPLORE: dict[str, type[Explore]] = by_name(
    Perturb, Resample, Gaussian, Shift, CustomExplore, NoExplore
)


def explore_to_json(strategy: Explore) -> Any:
    """Return a strategy as JSON: an object with its type, a list, or an object by name.

    Raises:
        ConfigError: it is none of ours, or its function has no import path.
    """
    match strategy:
        case Chain(steps=steps):
            return [explore_to_json(step) for step in steps]
        case PerName(strategies=strategies):
            return {name: explore_to_json(one) for name, one in strategies}
        case CustomExplore():
            return strategy.to_json()
        case _:
            data = encode(strategy, EXPLORE, what="explore")
            # Written as it was before these fields were there.
            later = {"choices": False, "scale": "value", "relative_to": None}
            return {name: x for name, x in data.items() if name not in later or x != later[name]}


def explore_from_json(data: Any) -> Explore:
    """Undo `explore_to_json`; a bare name is a strategy with its defaults."""
    if isinstance(data, Sequence) and not isinstance(data, str):
        return as_explore([explore_from_json(step) for step in data])
    if isinstance(data, Mapping) and not isinstance(data.get("type"), str):
        return as_explore({name: explore_from_json(one) for name, one in data.items()})
    return decode(data, EXPLORE, what="explore")

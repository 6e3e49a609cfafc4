"""Algorithms: from the newest scores to what a member does next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from evolvent.core.algorithms.pbt import PBT
from evolvent.core.algorithms.protocol import Algorithm
from evolvent.core.algorithms.random_search import RandomSearch
from evolvent.core.algorithms.replay import Replay
from evolvent.core.algorithms.small_population import SmallPopulation
from evolvent.core.codec import by_name, decode, encode, named
from evolvent.core.exploit import exploit_from_json, exploit_to_json
from evolvent.core.explore import as_explore, explore_from_json, explore_to_json
from evolvent.validation import cut, invalid

__all__ = [
    "ALGORITHMS",
    "PBT",
    "Algorithm",
    "RandomSearch",
    "Replay",
    "SmallPopulation",
    "algorithm_from_json",
    "algorithm_to_json",
]

ALGORITHMS: dict[str, type[Algorithm]] = by_name(PBT, RandomSearch, Replay)

PRESETS: dict[str, Callable[[], PBT]] = {"PBT.paper": PBT.paper, "PBT.ray": PBT.ray}
"""Settings by name, for who writes JSON or a study file; they are stored as what they set."""


def algorithm_to_json(algorithm: Algorithm) -> dict[str, Any]:
    """Return an algorithm with all its strategies as JSON.

    Raises:
        ConfigError: a part of it is none of ours, or has no import path.
    """
    if isinstance(algorithm, PBT):
        exploit, explore = algorithm.exploit, algorithm.explore  # None is left out, and read so
        return {
            "type": "PBT",
            **({} if exploit is None else {"exploit": exploit_to_json(exploit)}),
            **({} if explore is None else {"explore": explore_to_json(as_explore(explore))}),
            "copies": algorithm.copies,
            **({"explore_all": True} if algorithm.explore_all else {}),  # later than the others
        }
    return encode(algorithm, ALGORITHMS, what="algorithm")


def algorithm_from_json(data: Any) -> Algorithm:
    """Undo `algorithm_to_json`; a bare name is an algorithm with its defaults, or a preset.

    Raises:
        ConfigError: names the unknown type or field and what there is.
    """
    kind = data.get("type") if isinstance(data, Mapping) else data
    if isinstance(kind, str) and kind in PRESETS:
        preset = algorithm_to_json(PRESETS[kind]())
        own = data if isinstance(data, Mapping) else {}
        data = {**preset, **own, "type": "PBT"}
    elif isinstance(kind, str) and kind not in ALGORITHMS:
        wanted = ", ".join([*ALGORITHMS, *PRESETS])
        raise invalid("algorithm", f"got type {cut(kind)}, wanted one of {wanted}")
    cls, given = named(data, ALGORITHMS, what="algorithm")
    readers = {"exploit": exploit_from_json, "explore": explore_from_json} if cls is PBT else {}
    read = {name: readers[name](x) if name in readers else x for name, x in given.items()}
    return decode({"type": cls.__name__, **read}, ALGORITHMS, what="algorithm")

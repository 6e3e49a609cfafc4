"""Replay: train fresh models under a schedule that is known."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evolvent.core.population import Population
from evolvent.core.records import Decision, Hyperparameters, Keep, Member, Stop, Value
from evolvent.core.space import Space
from evolvent.errors import OutOfSpace
from evolvent.validation import check_count, cut, invalid


@dataclass(frozen=True, slots=True)
class Replay:
    """Every member trains under the same schedule: its hyperparameters depend on the round alone.

    Nobody copies, so the members differ by their seeds only. A member that fails is out: it lacks
    a round, and what it would come to is not what the schedule makes.

    Attributes:
        names: the hyperparameters, flat.
        starts: the first round of every segment: 0, then rising. The last segment has no end.
        values: for every segment, one value a name.
    """

    names: tuple[str, ...]
    starts: tuple[int, ...]
    values: tuple[tuple[Value, ...], ...]

    def __post_init__(self) -> None:
        for field in ("names", "starts", "values"):
            object.__setattr__(self, field, _as_tuple(field, getattr(self, field)))
        object.__setattr__(self, "values", tuple(_as_tuple("values", row) for row in self.values))
        starts = [check_count("starts", start, least=0) for start in self.starts]
        if starts[:1] != [0] or starts != sorted(set(starts)):
            raise invalid(
                "starts",
                f"got segments from rounds {cut(starts)}, wanted the first to start at 0 "
                "and every other later than the one before",
            )
        if len(self.values) != len(starts):
            raise invalid("values", f"got {len(self.values)} segments, {len(starts)} starts")
        for start, row in zip(starts, self.values, strict=True):
            if len(row) != len(self.names):
                names = ", ".join(map(str, self.names))
                raise invalid(
                    "values", f"round {start}: got {len(row)}, wanted one for each of {names}"
                )

    @classmethod
    def of(cls, segments: Sequence[tuple[int, Mapping[str, Value]]]) -> Replay:
        """Return the replay of segments: the first round of each, and its flat hyperparameters.

        Raises:
            ConfigError: there is none, or they do not all have the same names.
        """
        names = tuple(segments[0][1]) if segments else ()
        for start, values in segments:
            if set(values) != set(names):
                odd = sorted(set(values) ^ set(names))[0]
                raise invalid(
                    "schedule", f"round {start}: hyperparameter {odd} is not in every segment"
                )
        return cls(
            names,
            tuple(start for start, _ in segments),
            tuple(tuple(values[name] for name in names) for _, values in segments),
        )

    def at(self, round: int) -> Hyperparameters:
        """Return the hyperparameters of a round, 0 or later; after the end, the last ones."""
        return self._segment(bisect_right(self.starts, round) - 1)

    def decide(
        self, me: Member, population: Population, *, space: Space, rng: np.random.Generator
    ) -> Decision:
        if me.failed:
            return Stop("failed; a replay copies nobody")
        segment = bisect_right(self.starts, me.round + 1) - 1
        if self.starts[segment] != me.round + 1:
            return Keep("replay: goes on with the same segment of the schedule", self.at(me.round))
        reason = f"replay: segment {segment + 1} of {len(self.starts)} of the schedule begins"
        return Keep(reason, self._segment(segment))

    def validate(self, space: Space, population: int) -> None:
        """Check every segment against the space.

        Raises:
            OutOfSpace: names the round, the hyperparameter, what came and what was wanted.
        """
        for i, start in enumerate(self.starts):
            try:
                space.check(self._segment(i))
            except OutOfSpace as e:
                raise OutOfSpace(f"schedule: round {start}: {e}", field="schedule") from None

    def _segment(self, i: int) -> dict[str, Value]:
        return dict(zip(self.names, self.values[i], strict=True))


def _as_tuple(field: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise invalid(field, f"got {cut(value)}, wanted a list")
    return tuple(value)

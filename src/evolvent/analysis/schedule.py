"""Schedules: piecewise-constant hyperparameters per round along one lineage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.core.records import JobRecord


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of rounds with the same hyperparameters.

    Attributes:
        start: its first round, counted along the lineage from 0.
        rounds: how many rounds it lasts.
        hyperparameters: as training code got them.
        member: the member that trained it.
    """

    start: int
    rounds: int
    hyperparameters: Mapping[str, Any]
    member: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """What the weights at the end of a lineage were trained with, round by round."""

    segments: tuple[Segment, ...]

    @classmethod
    def of(cls, lineage: Sequence[JobRecord]) -> Schedule:
        """Return the schedule of a lineage, given from round 0 to its end.

        Rounds are counted along the lineage: a copy brings the donor's weights and so the donor's
        count. Neighbours with equal hyperparameters are one segment, also across a copy.
        """
        segments: list[Segment] = []
        for round_, job in enumerate(lineage):
            last = segments[-1] if segments else None
            if last is not None and last.hyperparameters == job.hyperparameters:
                segments[-1] = Segment(
                    last.start, last.rounds + 1, last.hyperparameters, last.member
                )
            else:
                segments.append(Segment(round_, 1, job.hyperparameters, job.member))
        return cls(tuple(segments))

    @property
    def rounds(self) -> int:
        """How many rounds of training the weights have seen."""
        return sum(segment.rounds for segment in self.segments)

    def at(self, round: int) -> Mapping[str, Any]:
        """Return the hyperparameters of one round, 0 to `rounds - 1`.

        Raises:
            IndexError: there is no such round.
        """
        for segment in self.segments:
            if segment.start <= round < segment.start + segment.rounds:
                return segment.hyperparameters
        raise IndexError(f"round {round}: the schedule has rounds 0 to {self.rounds - 1}")

    def __str__(self) -> str:
        names = list(dict.fromkeys(n for s in self.segments for n in flat(s.hyperparameters)))
        rows = [["rounds", *names, "member"]]
        for segment in self.segments:
            values = flat(segment.hyperparameters)
            end = segment.start + segment.rounds - 1
            span = str(end) if end == segment.start else f"{segment.start}-{end}"
            rows.append([span, *(_text(values.get(n)) for n in names), str(segment.member)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(lines)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested hyperparameters with dotted names."""
    flattened: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flattened |= flat(value, f"{prefix}{name}.")
        else:
            flattened[prefix + name] = value
    return flattened


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

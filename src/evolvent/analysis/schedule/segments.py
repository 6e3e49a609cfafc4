"""Segments: stretches of training with the same hyperparameters, end to end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evolvent.analysis.html import MOST_ROWS, note, rows
from evolvent.core.space import Space, short
from evolvent.errors import ConfigError
from evolvent.validation import check_count, cut

Unit = Literal["rounds", "steps"]
UNITS: tuple[Unit, ...] = ("rounds", "steps")


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of training with the same hyperparameters.

    Attributes:
        start: where it begins, in the unit of its schedule, counted along the lineage from 0.
        length: how long it lasts, 1 or more.
        hyperparameters: as training code got them, nested as the space is.
        member: the member that trained it; None where several did, or no member of a study.
    """

    start: int
    length: int
    hyperparameters: Mapping[str, Any]
    member: int | None = None

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.start + self.length

    @property
    def span(self) -> str:
        """Its first and last round or step, such as `4-7`."""
        return str(self.start) if self.length == 1 else f"{self.start}-{self.end - 1}"


def check_segments(segments: Sequence[Segment]) -> None:
    """Raise ConfigError unless the segments are whole and follow each other from 0 without gaps."""
    if not segments:
        raise ConfigError("schedule: got no segment, wanted one or more")
    end = 0
    for i, segment in enumerate(segments):
        if not isinstance(segment, Segment):
            raise ConfigError(f"segment {i}: got {cut(segment)}, wanted a Segment")
        start = check_count(f"segment {i}: start", segment.start, least=0)
        if start != end:
            raise ConfigError(
                f"segment {i}: start: got {start}, wanted {end}, where the one before ends"
            )
        end += check_count(f"segment {i}: length", segment.length, least=1)
        if not isinstance(segment.hyperparameters, Mapping):
            raise ConfigError(
                f"segment {i}: hyperparameters: got {cut(segment.hyperparameters)}, "
                "wanted a dict of names"
            )
        if segment.member is not None:
            check_count(f"segment {i}: member", segment.member, least=0)


def joined(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Lay segments end to end from 0 by their lengths; equal neighbours become one.

    Where two members trained them, the one has no member.
    """
    laid: list[Segment] = []
    for segment in segments:
        last = laid[-1] if laid else None
        if last is not None and _same(last.hyperparameters, segment.hyperparameters):
            length = last.length + segment.length
            member = last.member if last.member == segment.member else None
            laid[-1] = Segment(last.start, length, last.hyperparameters, member)
        else:
            start = 0 if last is None else last.end
            laid.append(Segment(start, segment.length, segment.hyperparameters, segment.member))
    return tuple(laid)


def stretched(segments: Sequence[Segment], total: int) -> tuple[Segment, ...]:
    """Move the borders of at most `total` segments so that they fill `total`, none empty."""
    old = sum(segment.length for segment in segments)
    ends, end = [], 0
    for segment in segments:
        end += segment.length
        ends.append((2 * end * total + old) // (2 * old))  # rounded; in integers, so exactly
    for i in range(len(ends)):  # each is one long at least ...
        ends[i] = max(ends[i], (ends[i - 1] if i else 0) + 1)
    for i in reversed(range(len(ends))):  # ... and leaves one for each that follows
        ends[i] = min(ends[i], total - (len(ends) - 1 - i))
    lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    return joined(
        Segment(0, length, s.hyperparameters, s.member)
        for s, length in zip(segments, lengths, strict=True)
    )


def longest(segments: Sequence[Segment], n: int) -> list[Segment]:
    """Return the `n` longest in their order; of equals the later, which training ended with."""
    order = sorted(range(len(segments)), key=lambda i: (segments[i].length, i))
    return [segments[i] for i in sorted(order[-n:])]


def as_text(segments: Sequence[Segment], *, unit: str) -> str:
    """Return a table, a line for each segment; with the members where there are any."""
    names, members = names_of(segments), members_of(segments)
    of_study = any(member is not None for member in members)
    table = [[unit, *names, *(["member"] if of_study else [])]]
    for segment, member in zip(segments, members, strict=True):
        row = [segment.span, *map(short, _values(segment, names))]
        table.append([*row, str(member)] if of_study else row)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in table]
    return "\n".join(lines)


def as_html(segments: Sequence[Segment], *, unit: str) -> str:
    """Return a table for notebooks, one row a segment; of many, the first and the last."""
    names = names_of(segments)
    titles = [unit, *names, "member"]
    lines = [
        [segment.span, *_values(segment, names), member]
        for segment, member in zip(segments, members_of(segments), strict=True)
    ]
    if len(lines) <= MOST_ROWS:
        return rows(titles, lines)
    half = MOST_ROWS // 2
    gap = ["…", *[None] * (len(titles) - 1)]
    more = note(f"{len(lines) - 2 * half} segments between them are not shown")
    return rows(titles, [*lines[:half], gap, *lines[-half:]]) + more


def names_of(segments: Sequence[Segment]) -> tuple[str, ...]:
    """Return the hyperparameters of segments, with dotted names."""
    return tuple(dict.fromkeys(name for s in segments for name in Space.flatten(s.hyperparameters)))


def members_of(segments: Sequence[Segment]) -> list[int | str | None]:
    """Return who trained each segment, for people; None for all of a schedule of no study."""
    members = [segment.member for segment in segments]
    of_study = any(member is not None for member in members)
    return ["several" if of_study and member is None else member for member in members]


def _values(segment: Segment, names: Sequence[str]) -> list[Any]:
    values = Space.flatten(segment.hyperparameters)
    return [values.get(name) for name in names]


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether values are equal and of equal types: True is not 1."""
    if one != other:
        return False
    types = {name: type(value) for name, value in Space.flatten(one).items()}
    return types == {name: type(value) for name, value in Space.flatten(other).items()}

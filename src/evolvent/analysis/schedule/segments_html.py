"""A schedule as a table in notebooks, one row a segment."""

from __future__ import annotations

from collections.abc import Sequence

from evolvent.analysis.html import MOST_ROWS, framed, note, rows
from evolvent.analysis.schedule.segments import Segment, flat


def schedule_html(segments: Sequence[Segment], unit: str) -> str:
    """Return a schedule as a page of its own."""
    total = segments[-1].end if segments else 0
    return framed("Schedule", f"{total} {unit}", segments_table(segments, unit))


def segments_table(segments: Sequence[Segment], unit: str) -> str:
    """Return segments, one row each; of many, the first and the last."""
    shown, left_out = _ends(segments)
    names = list(dict.fromkeys(n for s in segments for n in flat(s.hyperparameters)))
    titles = [unit, *names, "member"]
    table = []
    for segment in shown:
        values = flat(segment.hyperparameters)
        table.append([segment.span, *(values.get(name) for name in names), segment.member])
    if not left_out:
        return rows(titles, table)
    half = len(shown) // 2
    gap = ["…", *[None] * (len(titles) - 1)]
    more = note(f"{left_out} segments between them are not shown")
    return rows(titles, [*table[:half], gap, *table[half:]]) + more


def _ends(segments: Sequence[Segment]) -> tuple[Sequence[Segment], int]:
    if len(segments) <= MOST_ROWS:
        return segments, 0
    half = MOST_ROWS // 2
    return [*segments[:half], *segments[-half:]], len(segments) - 2 * half

"""Means and differences over seeds as lines of text, at most 80 characters wide."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from evolvent.analysis.comparison.statistics import LEVEL, Estimate

WIDTH = 80
TITLES = ("mean", "sd", f"{LEVEL * 100:g} % interval", "seeds", "")
"""Of the columns after the first, in a table of means and differences."""

_LABEL, _GAP = 12, 2
_FOUR_DIGITS, _TWO_DIGITS = 3, 1
_LARGEST = 1e7
_ROUNDING = 1e-9  # what is smaller beside the values is rounding, no difference


class Line(NamedTuple):
    """A line of a report, and what of it is to stand out.

    Attributes:
        verdict: what it ends with, where it tells a difference.
        alarm: what it begins with, where it must not be missed.
    """

    text: str
    verdict: str = ""
    alarm: str = ""


def decimals(values: Iterable[float | None], spreads: Iterable[float | None]) -> int:
    """Return how many decimals show four digits of the values and two of what lies between them."""
    largest = max((abs(v) for v in values if v is not None), default=0.0) or 1.0
    widths = [abs(s) for s in spreads if s and abs(s) > _ROUNDING * largest]
    for_values = _FOUR_DIGITS - _exponent(largest)
    for_spreads = _TWO_DIGITS - _exponent(min(widths, default=largest))
    return max(0, for_values, min(for_spreads, for_values + 2))


def number(value: float | None, digits: int, *, plus: bool = False) -> str:
    """Return a value with so many decimals; "-" for none."""
    if value is None:
        return "-"
    sign = "+" if plus else ""
    if abs(value) >= _LARGEST or digits > 8:
        return f"{value:{sign}.3e}"
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"  # + 0.0: no minus before zero


def mean_cells(mean: Estimate | None, sd: float | None, digits: int) -> tuple[str, ...]:
    """Return mean, standard deviation, interval and the number of seeds."""
    if mean is None:
        return "-", "-", "", "0", ""
    return number(mean.value, digits), number(sd, digits), _span(mean, digits), str(mean.n), ""


def difference_cells(difference: Estimate, verdict: str, digits: int) -> tuple[str, ...]:
    """Return a difference with its sign below `mean_cells`, and what it means if that is known."""
    value, ends = number(difference.value, digits, plus=True), _span(difference, digits, plus=True)
    return value, "", ends, "", "" if verdict == "unknown" else verdict


def _span(estimate: Estimate, digits: int, *, plus: bool = False) -> str:
    """Return an interval; nothing where there is none."""
    if estimate.low is None:
        return ""
    ends = [number(x, digits, plus=plus) for x in (estimate.low, estimate.high)]
    return " to ".join(ends)


def aligned(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield rows as lines, columns below each other; a row of one cell is a heading.

    The first column is cut where the others leave it no room.
    """
    table = [list(row) for row in rows]
    full = [row for row in table if len(row) > 1]
    first, *widths, last = [max(map(len, column)) for column in zip(*full, strict=True)]
    room = WIDTH - sum(w + _GAP for w in [*widths, last])
    first = min(first, max(room, _LABEL))
    for row in table:
        if len(row) == 1:
            yield _shortened(row[0], WIDTH)
            continue
        label, *middle, end = row
        cells = [c.rjust(w) for c, w in zip(middle, widths, strict=True)]
        yield "  ".join([_shortened(label, first).ljust(first), *cells, end]).rstrip()


def report_lines(
    head: str, rows: Iterable[Sequence[str]], sentences: Iterable[str]
) -> Iterator[Line]:
    """Yield a report: what it is about, a table whose last column holds verdicts, what it means."""
    table = list(rows)
    yield from [*wrapped(head), Line("")]
    for row, line in zip(table, aligned(table), strict=True):
        yield Line(line, verdict=row[-1] if len(row) > 1 else "")
    yield Line("")
    for sentence in sentences:
        yield from wrapped(sentence)


def wrapped(text: str, *, alarm: str = "") -> list[Line]:
    """Return a sentence as lines; `alarm` is what it begins with."""
    lines = textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    return [Line(line, alarm="" if i else alarm) for i, line in enumerate(lines)]


def counted(n: int, what: str) -> str:
    """Return a number of things, such as "1 seed" or "3 seeds"."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _exponent(size: float) -> int:
    return math.floor(math.log10(size)) if size and math.isfinite(size) else 0

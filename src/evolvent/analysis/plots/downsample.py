"""No more marks than can be seen: a log may have a million jobs, a figure has some 700 columns.

What is left out, and when:

- Lines: up to `VERTICES` points a figure, or `SAMPLE` members, every member is drawn. Beyond, two
  bands show where the middle 90 % and the middle half of all members are, round by round, and up to
  `SAMPLE` members, evenly spread over their last values, show how single ones move; fewer, the more
  rounds there are, so that the bands stay visible.
- A line never has more than four points in a column of pixels: its first, last, lowest, highest.
- Points: of those in one cell of the paper, a few pixels wide, the last is drawn; what lies under
  others would not be seen.

The best lineage is never left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evolvent.analysis.columns import Flags, Numbers, Rows, evenly

VERTICES = 20_000
SAMPLE = 16
_SEEN = 1_500  # points on the bands
BINS = 160
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """Where the members are, round by round."""

    round: Numbers  # [b]: middle of the rounds of a bin
    levels: Numbers  # [b, 5]: their 5, 25, 50, 75 and 95 % quantiles


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """What is drawn of all members."""

    series: list[Rows]  # rows of one member, by round: one entry a line
    bands: Bands | None  # None when every member is drawn
    members: int  # how many there are


def lines(rows: Rows, places: Numbers, *, panels: int = 1, columns: int = 700) -> Lines:
    """Return the lines of a figure.

    Args:
        rows: int64 [members, rounds], as in `Log.rows`.
        places: float64 [n]: what is drawn upwards, evenly spread.
        panels: how many such panels the figure has.
        columns: width of a panel in pixels.
    """
    members = [line[line >= 0] for line in rows]
    members = [line for line in members if np.isfinite(places[line]).any()]
    jobs = sum(map(len, members))
    if jobs <= VERTICES // panels:
        return Lines(members, None, len(members))
    few = len(members) <= SAMPLE
    chosen = members if few else _spread(members, places, max(2, min(SAMPLE, _SEEN // len(rows.T))))
    thinned = [thin_line(line, places, columns=columns // 4) for line in chosen]
    return Lines(thinned, None if few else _bands(rows, places), len(members))


def thin_line(line: Rows, places: Numbers, *, columns: int) -> Rows:
    """Return at most four rows for each column of a line: first, last, lowest, highest."""
    if len(line) <= 4 * columns:
        return line
    kept = []
    for part in np.array_split(line, columns):
        y = places[part]
        seen = np.flatnonzero(np.isfinite(y))
        if len(seen):
            extremes = {int(seen[0]), int(seen[-1]), *map(int, (np.nanargmin(y), np.nanargmax(y)))}
            kept.append(part[sorted(extremes)])
    return np.concatenate(kept)


def thin_points(x: Numbers, y: Numbers, *, columns: int, rows: int) -> Rows:
    """Return the indices of the points that are seen: the last in each cell of a grid.

    Places are float64 [n], evenly spread; points that are not finite are left out. The grid has so
    many columns and rows of cells.
    """
    seen = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if len(seen) <= 1:
        return seen
    cells = _cells(x[seen], columns) * rows + _cells(y[seen], rows)
    _, last = np.unique(cells[::-1], return_index=True)
    return np.sort(seen[::-1][last])


def core_range(values: Numbers, keep: Numbers | None = None) -> tuple[float, float] | None:
    """Return the range worth drawing when a few values would flatten all others; else None.

    The values of `keep` lie within it.
    """
    finite = values[np.isfinite(values)]
    if len(finite) < 10:
        return None
    low, high = (float(q) for q in np.quantile(finite, (0.02, 0.98)))
    if keep is not None and len(keep := keep[np.isfinite(keep)]):
        low, high = min(low, float(keep.min())), max(high, float(keep.max()))
    margin = (high - low) * 0.05
    with np.errstate(over="ignore"):
        far = float(finite.max()) - float(finite.min()) > 5 * (high - low)
    return (low - margin, high + margin) if far and high > low else None


def drawn_range(values: Numbers, keep: Numbers | None = None) -> tuple[float, float]:
    """Return the `core_range` of values, or else all of it; 0 to 0 where none is finite."""
    finite = values[np.isfinite(values)]
    whole = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    return core_range(finite, keep) or whole


def beyond(values: Numbers, core: tuple[float, float] | None) -> Flags:
    """Return bool [n]: which values lie beyond the range that is drawn; None: it holds all."""
    low, high = (-np.inf, np.inf) if core is None else core
    return np.asarray((values < low) | (values > high), np.bool_)


def _spread(members: list[Rows], places: Numbers, n: int) -> list[Rows]:
    """Return so many members, evenly spread over their last values."""
    last = [places[line][np.isfinite(places[line])][-1] for line in members]
    chosen = evenly(np.argsort(last, kind="stable"), n)
    return [members[i] for i in sorted(chosen)]


def _bands(rows: Rows, places: Numbers) -> Bands:
    at, levels = [], []
    for part in np.array_split(np.arange(rows.shape[1]), min(BINS, rows.shape[1])):
        inside = rows[:, part]
        found = places[inside[inside >= 0]]
        found = found[np.isfinite(found)]
        if len(found):
            at.append(float(part.mean()))
            levels.append(np.quantile(found, LEVELS))
    return Bands(np.array(at), np.array(levels))


def _cells(places: Numbers, n: int) -> Rows:
    low, high = places.min(), places.max()
    if not high > low:
        return np.zeros(len(places), np.int64)
    with np.errstate(over="ignore", invalid="ignore"):  # halved, or 1e308 - -1e308 would overflow
        share = (places / 2 - low / 2) / (high / 2 - low / 2)
    cells: Rows = np.minimum((share * n).astype(np.int64), n - 1)
    return cells

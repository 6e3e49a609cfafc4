"""A column of the log along an axis: plain, logarithmic, by distance from 1, or in categories."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from evolvent.analysis.columns import Column, Numbers, Rows
from evolvent.analysis.log import Log
from evolvent.analysis.plots.drawing import alt
from evolvent.core.distributions import (
    Choice,
    Constant,
    Distribution,
    Logarithmic,
    Ordinal,
    ReverseLogUniform,
)
from evolvent.core.space import short
from evolvent.core.values import identity, texts_of

_LISTED_FROM_TEXT = 40  # more different texts than that are no axis: the rest is not drawn
NUMBERS = (
    # a log axis blanks the labels between its decades; what has many zeros is said by its exponent
    "datum.label === '' ? '' : datum.value !== 0 && "
    "(abs(datum.value) < 0.001 || abs(datum.value) >= 1e6) "
    "? format(datum.value, '~e') : format(datum.value, '~')"
)
_ONE_MINUS = "format(1 - datum.value, '~')"
_HALVES_BELOW = 4  # decades


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """Where the jobs of a log lie along one axis.

    Attributes:
        name: of the hyperparameter or metric, with its dots: also the title.
        scale: how the numbers are spread; "one_minus" by the logarithm of their distance from 1,
            which is what charts are given then.
        places: float64 [n]: the numbers, or the index of the category; NaN is not drawn.
        categories: their texts, in the order of the space; empty on a scale of numbers.
    """

    name: str
    scale: Literal["linear", "log", "one_minus", "ordinal"]
    places: Numbers
    categories: tuple[str, ...] = ()

    @classmethod
    def of_hyperparameter(cls, log: Log, name: str) -> Axis:
        """Return the axis of a hyperparameter that the log has, on the scale of its space."""
        column, distribution = log.hyperparameters[name], log.status.record.space.get(name)
        listed = _listed(column, distribution)
        if listed is not None:
            places = {identity(value): float(place) for place, value in enumerate(listed)}
            found = [places.get(identity(value), np.nan) for value in column.tolist()]
            texts = tuple(texts_of(listed, partial(short, digits=8)))
            return cls(name, "ordinal", np.array(found, np.float64), texts)
        numbers = _numbers(column)
        seen = numbers[np.isfinite(numbers)]
        if isinstance(distribution, Logarithmic) and np.all(seen > 0):
            return cls(name, "log", numbers)
        near_one = isinstance(distribution, ReverseLogUniform) and bool(np.all(seen < 1))
        return cls(name, "one_minus" if near_one else "linear", numbers)

    @property
    def varies(self) -> bool:
        """Whether there is more than one value."""
        seen = self.places[np.isfinite(self.places)]
        return bool(len(seen)) and bool(seen.min() < seen.max())

    @property
    def scaled(self) -> Numbers:
        """The places as they are spread on the paper: float64 [n]."""
        if self.scale == "one_minus":
            return -np.log10(1 - self.places)
        return np.log10(self.places) if self.scale == "log" else self.places

    def unscaled(self, scaled: Numbers) -> Numbers:
        """Undo `scaled`."""
        if self.scale == "one_minus":
            return 1 - 10.0**-scaled
        return 10.0**scaled if self.scale == "log" else scaled

    def charted(self, places: Numbers) -> Numbers:
        """Return the numbers that a chart is given for places."""
        return 1 - places if self.scale == "one_minus" else places

    def ends(self, rows: Rows) -> list[float] | None:
        """Return the range of some rows as charts have it; None for categories, or without one."""
        seen = self.charted(self.places[self.drawn(rows)])
        if self.scale == "ordinal" or not len(seen) or seen.min() == seen.max():
            return None
        return [float(seen.min()), float(seen.max())]

    def cells(self, rows: Rows) -> list[Any]:
        """Return what a chart is given for these rows: numbers, or texts of categories."""
        places = self.places[rows]
        if self.scale == "ordinal":
            return [self.categories[int(place)] for place in places]
        return rounded(self.charted(places))

    def drawn(self, rows: Rows) -> Rows:
        """Return those of the rows that have a place on the axis."""
        kept: Rows = rows[np.isfinite(self.places[rows])]
        return kept

    def x(self, field: str, *, domain: Sequence[float] | None = None) -> alt.X:
        """Return the encoding of a field as the horizontal position; `domain` gives its ends."""
        return alt.X(field, **self._encoding(domain))

    def y(self, field: str, *, domain: Sequence[float] | None = None) -> alt.Y:
        """Return the encoding of a field as the vertical position; `domain` gives its ends."""
        return alt.Y(field, **self._encoding(domain))

    def tooltip(self, field: str) -> alt.Tooltip:
        """Return the encoding of a field as a line of the tooltip."""
        kind = "nominal" if self.scale == "ordinal" else "quantitative"
        title = f"1 - {self.name}" if self.scale == "one_minus" else self.name
        return alt.Tooltip(field, type=kind, title=title)

    def _encoding(self, domain: Sequence[float] | None) -> dict[str, Any]:
        if self.scale == "ordinal":
            scale = alt.Scale(domain=list(self.categories))
            axis = alt.Axis(title=self.name, labelAngle=0, labelLimit=110)
            return {"type": "ordinal", "sort": None, "scale": scale, "axis": axis}
        # what lies beyond the ends is drawn on them: to clip every mark takes seconds
        ends = {} if domain is None else {"domain": list(domain), "clamp": True}
        near_one = self.scale == "one_minus"
        kind = {"type": "log", "reverse": True} if near_one else {"type": self.scale}
        scale = alt.Scale(**kind, zero=False, nice=False, padding=8, **ends)
        decades = self._decades(self.charted(self.places) if domain is None else np.array(domain))
        ticks = {"values": decades} if len(decades) > 1 else {"tickCount": 5}
        label = _ONE_MINUS if near_one else NUMBERS
        axis = alt.Axis(title=self.name, labelExpr=label, **ticks)
        return {"type": "quantitative", "scale": scale, "axis": axis}

    def _decades(self, charted: Numbers) -> list[float]:
        """Return the powers of ten on a log axis: the lines between them would only be clutter."""
        seen = charted[np.isfinite(charted)]
        if self.scale not in {"log", "one_minus"} or not len(seen):
            return []
        if self.scale == "one_minus":
            return distances_from_one(float(seen.min()), float(seen.max()))
        low, high = np.log10(seen.min()), np.log10(seen.max())
        every = max(1, int((high - low) // 6))
        powers = range(int(np.ceil(low - 0.05)), int(np.floor(high + 0.05)) + 1, every)
        return [float(f"1e{power}") for power in powers]


def distances_from_one(low: float, high: float) -> list[float]:
    """Return those of 0.9, 0.99, 0.999, …, and between them, where there is room, of 0.95, ….

    They are returned as distances: 0.1, 0.01, …

    Args:
        low: least distance, above 0.
        high: greatest distance.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 5) if last - first < _HALVES_BELOW else (1,)
    found = [float(f"{n}e{power}") for power in range(first, last + 1) for n in steps]
    return [x for x in found if 0.98 * low <= x <= 1.02 * high]


def round_axis(
    field: str = "round:Q", *, title: str = "round", grid: bool = True, **scale: Any
) -> alt.X:
    """Return the encoding of a field as rounds from left to right."""
    ticks = alt.Axis(tickMinStep=1, format="d", grid=grid)
    return alt.X(field, title=title, axis=ticks, scale=alt.Scale(nice=False, **scale))


def rounded(numbers: Numbers) -> list[float | None]:
    """Return numbers for a chart: as many digits as an eye can use, nothing that is not finite."""
    return [float(f"{x:.8g}") if np.isfinite(x) else None for x in numbers.tolist()]


def _listed(column: Column, distribution: Distribution | None) -> Sequence[Any] | None:
    """Return the categories of a column; None where it holds numbers."""
    if isinstance(distribution, (Choice, Ordinal)):
        return distribution.values
    if isinstance(distribution, Constant) and not _is_number(distribution.value):
        return [distribution.value]
    if column.dtype != object or all(v is None or _is_number(v) for v in column.tolist()):
        return None
    different = {identity(value): value for value in column.tolist()}
    return [*different.values()][:_LISTED_FROM_TEXT]


def _numbers(column: Column) -> Numbers:
    if column.dtype != object:
        return column.astype(np.float64)
    return np.array([float(v) if _is_number(v) else np.nan for v in column.tolist()], np.float64)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

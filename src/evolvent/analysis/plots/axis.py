"""A column of the log as it lies along an axis: plain, logarithmic, or one place a category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from evolvent.analysis.columns import Column, Numbers, Rows
from evolvent.analysis.log import Log
from evolvent.analysis.plots.drawing import alt
from evolvent.core.distributions import Choice, Constant, Distribution, Logarithmic, Ordinal
from evolvent.core.space import short
from evolvent.core.values import identity, texts_of

_LISTED_FROM_TEXT = 40  # more different texts than that are no axis: the rest is not drawn
NUMBERS = (
    # a log axis blanks the labels between its decades; what has many zeros is said by its exponent
    "datum.label === '' ? '' : datum.value !== 0 && "
    "(abs(datum.value) < 0.001 || abs(datum.value) >= 1e6) "
    "? format(datum.value, '~e') : format(datum.value, '~')"
)


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """Where the jobs of a log lie along one axis.

    Attributes:
        name: of the hyperparameter or metric, with its dots: also the title.
        scale: how the numbers are spread.
        places: float64 [n]: the numbers, or the index of the category; NaN is not drawn.
        categories: their texts, in the order of the space; empty on a scale of numbers.
    """

    name: str
    scale: Literal["linear", "log", "ordinal"]
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
        wanted = isinstance(distribution, Logarithmic)
        log_scale = wanted and bool(np.all(numbers[np.isfinite(numbers)] > 0))
        return cls(name, "log" if log_scale else "linear", numbers)

    @property
    def varies(self) -> bool:
        """Whether there is more than one value."""
        seen = self.places[np.isfinite(self.places)]
        return bool(len(seen)) and bool(seen.min() < seen.max())

    @property
    def scaled(self) -> Numbers:
        """The places as they are spread on the paper: float64 [n]."""
        return np.log10(self.places) if self.scale == "log" else self.places

    def ends(self, rows: Rows) -> list[float] | None:
        """Return the range of some rows; None on an axis of categories, or without a range."""
        seen = self.places[self.drawn(rows)]
        if self.scale == "ordinal" or not len(seen) or seen.min() == seen.max():
            return None
        return [float(seen.min()), float(seen.max())]

    def cells(self, rows: Rows) -> list[Any]:
        """Return what a chart is given for these rows: numbers, or texts of categories."""
        places = self.places[rows]
        if self.scale == "ordinal":
            return [self.categories[int(place)] for place in places]
        return rounded(places)

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
        return alt.Tooltip(field, type=kind, title=self.name)

    def _encoding(self, domain: Sequence[float] | None) -> dict[str, Any]:
        if self.scale == "ordinal":
            scale = alt.Scale(domain=list(self.categories))
            axis = alt.Axis(title=self.name, labelAngle=0, labelLimit=110)
            return {"type": "ordinal", "sort": None, "scale": scale, "axis": axis}
        # what lies beyond the ends is drawn on them: to clip every mark takes seconds
        ends = {} if domain is None else {"domain": list(domain), "clamp": True}
        scale = alt.Scale(type=self.scale, zero=False, nice=False, padding=8, **ends)
        decades = self._decades(self.places if domain is None else np.array(domain))
        ticks = {"values": decades} if len(decades) > 1 else {"tickCount": 5}
        axis = alt.Axis(title=self.name, labelExpr=NUMBERS, **ticks)
        return {"type": "quantitative", "scale": scale, "axis": axis}

    def _decades(self, places: Numbers) -> list[float]:
        """Return the powers of ten on a log axis: the lines between them would only be clutter."""
        seen = places[np.isfinite(places)]
        if self.scale != "log" or not len(seen):
            return []
        low, high = np.log10(seen.min()), np.log10(seen.max())
        every = max(1, int((high - low) // 6))
        powers = range(int(np.ceil(low - 0.05)), int(np.floor(high + 0.05)) + 1, every)
        return [float(f"1e{power}") for power in powers]


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

"""A typed table that belongs to no library: what frames and files are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, TypeAlias

import numpy as np

from evolvent.analysis.columns import Column, Flags, Numbers, factorize, typed
from evolvent.core.values import identity, texts_of


class ColumnKind(Enum):
    """What a column holds; its type in a frame follows from it, whatever the values are."""

    WHOLE = auto()  # int64
    NUMBER = auto()  # float64, in which NaN is a value
    FLAG = auto()  # bool
    TEXT = auto()  # str objects
    CATEGORY = auto()  # int32: places in `categories`
    TIME = auto()  # datetime64[us], UTC


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """One column.

    Attributes:
        values: [n], of the type that `kind` says; anything where they are missing.
        missing: bool [n].
        categories: of a CATEGORY, all there may be.
    """

    kind: ColumnKind
    values: Column
    missing: Flags
    categories: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def where(self, chosen: Flags | slice) -> Cells:
        """Return some of the rows."""
        return replace(self, values=self.values[chosen], missing=self.missing[chosen])


Table: TypeAlias = Mapping[str, Cells]


def whole(values: Column, missing: Flags | None = None) -> Cells:
    """Return whole numbers."""
    return Cells(ColumnKind.WHOLE, values.astype(np.int64, copy=False), _mask(values, missing))


def number(values: Column, missing: Flags | None = None) -> Cells:
    """Return numbers."""
    return Cells(ColumnKind.NUMBER, values.astype(np.float64, copy=False), _mask(values, missing))


def time(seconds: Numbers) -> Cells:
    """Return times, given in seconds since 1970; NaN for missing ones."""
    missing = np.isnan(seconds)
    # Rounded, not cut: a float of seconds lies a fraction of a microsecond beside what was meant.
    micros = np.round(np.where(missing, 0.0, seconds) * 1e6).astype(np.int64)
    return Cells(ColumnKind.TIME, micros.astype("datetime64[us]"), missing)


def text(values: Sequence[str | None] | Column) -> Cells:
    """Return texts."""
    column = np.fromiter(values, object, len(values))
    return Cells(ColumnKind.TEXT, column, _is_none(column))


def category(values: Sequence[str | None], known: Sequence[str] = ()) -> Cells:
    """Return texts of which there are few; the `known` come first, whether there or not."""
    there: dict[str | None, int] = {None: 0, **{name: place for place, name in enumerate(known, 1)}}
    codes = factorize(values, there) - 1
    return coded(codes, [name for name in there if name is not None])


def coded(codes: Column, categories: Sequence[str]) -> Cells:
    """Return a category given by places; -1 for missing ones."""
    return Cells(ColumnKind.CATEGORY, codes.astype(np.int32), codes < 0, tuple(categories))


def scalars(values: Column, known: Sequence[Any] = ()) -> Cells:
    """Return numbers, booleans, texts or a mixture of them, which becomes text; lists as JSON.

    Args:
        values: int64, float64 or object.
        known: the values that there may be, if they are listed.
    """
    if values.dtype != object:
        return whole(values) if values.dtype.kind == "i" else number(values)
    missing = _is_none(values)
    there = values[~missing].tolist()
    if set(map(type, there)) == {bool}:
        return Cells(ColumnKind.FLAG, values.astype(np.bool_), missing)
    numbers = typed(there)
    if numbers.dtype == object:
        listed = [value for value in known if value is not None]
        different = {identity(value): value for value in (*listed, *there)}
        texts = dict(zip(different, texts_of([*different.values()]), strict=True))
        named = [None if v is None else texts[identity(v)] for v in values.tolist()]
        return category(named, [texts[identity(value)] for value in listed])
    filled = np.zeros(len(values), numbers.dtype)
    filled[~missing] = numbers
    return whole(filled, missing) if numbers.dtype.kind == "i" else number(filled, missing)


def _mask(values: Column, missing: Flags | None) -> Flags:
    return np.zeros(len(values), np.bool_) if missing is None else missing


def _is_none(values: Column) -> Flags:
    return np.asarray(values == np.array(None), np.bool_)

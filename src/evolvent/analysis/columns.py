"""Rows of the log as numpy columns, page by page, so that a long log is never a list of objects."""

from __future__ import annotations

import gc
import json
import math
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from evolvent.store.protocol import Store
from evolvent.store.records import JobColumn

Column: TypeAlias = NDArray[Any]
Numbers: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]
Rows: TypeAlias = NDArray[np.int64]
"""Places in a log, or in its columns."""

_Key = TypeVar("_Key", bound=Hashable)
_Chunk = TypeVar("_Chunk")

_NUMBER_KINDS = {int, float, bool, type(None)}
_PAGE = 1_000  # rows that stay in the nearest cache while they are turned into columns


def pages(store: Store, study: int, columns: Sequence[JobColumn]) -> Iterator[list[Sequence[Any]]]:
    """Read columns of the finished jobs page by page; each page is one sequence a column."""
    # The log only grows at its end: a page that has been read stays as it is, and nothing is
    # skipped or read twice while others report.
    after = 0
    while rows := store.scan(study, columns, after=after, limit=_PAGE):
        yield list(zip(*rows, strict=True))
        after += len(rows)


@contextmanager
def gc_paused() -> Iterator[None]:
    """Read without looking for garbage in cycles: there is none, and the search doubles the time.

    Millions of small objects come and go, and each of them may set off a search through all.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def decode_all(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Decode JSON texts all at once, which takes half the time of one after the other."""
    found: list[dict[str, Any]] = json.loads(f"[{','.join(texts)}]")
    return found


def factorize(values: Sequence[_Key], known: dict[_Key, int]) -> NDArray[np.int64]:
    """Return the place of each value in `known`; new ones are added at its end."""
    for value in dict.fromkeys(values):
        if value not in known:
            known[value] = len(known)
    return np.fromiter(map(known.__getitem__, values), np.int64, len(values))


class JsonColumns:
    """Columns of mappings that come as JSON text, most of them more than once.

    Members keep their hyperparameters for many rounds, so each text is decoded only once.
    """

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._codes: list[Rows] = [np.zeros(0, np.int64)]

    def add(self, texts: Sequence[str]) -> None:
        self._codes.append(factorize(texts, self._known))

    def columns(self) -> dict[str, Column]:
        """Return by name: int64, float64, or object for what is not a number."""
        values, texts = ValueColumns(), list(self._known)
        for start in range(0, len(texts), _PAGE):
            values.add(decode_all(texts[start : start + _PAGE]))
        codes = np.concatenate(self._codes)
        return {name: column[codes] for name, column in values.columns().items()}


class _Chunks(Generic[_Chunk]):
    """Columns of mappings, one chunk a page; a name may be missing here and there."""

    def __init__(self, make: Callable[[Sequence[Any]], _Chunk]) -> None:
        """Begin without rows; `make` turns the values of a page, None if missing, into a chunk."""
        self._make = make
        self._chunks: dict[str, list[_Chunk]] = {}
        self._n = 0

    def add(self, mappings: Sequence[Mapping[str, Any]]) -> None:
        found, blank = columns_by_name(mappings), [None] * len(mappings)
        for name in found:
            if name not in self._chunks:  # new on this page: it was missing in all rows before
                self._chunks[name] = [self._make([None] * self._n)]
        for name, chunks in self._chunks.items():
            chunks.append(self._make(found.get(name, blank)))
        self._n += len(mappings)


class ValueColumns(_Chunks[Column]):
    """Columns of mappings to values of any kind."""

    def __init__(self) -> None:
        super().__init__(typed)

    def columns(self) -> dict[str, Column]:
        """Return by name: int64, float64, or object for what is not a number, None if missing."""
        return {name: joined_mixed(chunks) for name, chunks in self._chunks.items()}


class NumberColumns(_Chunks[tuple[Numbers, Flags, Column | None]]):
    """Columns of mappings to numbers, among which there may be other values."""

    def __init__(self) -> None:
        super().__init__(_numbers)

    def columns(self) -> dict[str, Numbers]:
        """Return those that have a number; NaN where there is none."""
        numbers = {n: np.concatenate([c[0] for c in chunks]) for n, chunks in self._chunks.items()}
        return {name: numbers[name] for name, there in self._present().items() if there.any()}

    def present(self) -> dict[str, Flags]:
        """Return of the same ones whether a number was there."""
        return {name: there for name, there in self._present().items() if there.any()}

    def others(self) -> dict[str, Column]:
        """Return object [n] of those that have other values: these, None elsewhere."""
        return {
            name: np.concatenate(
                [
                    np.full(len(numbers), None) if other is None else other
                    for numbers, _, other in chunks
                ]
            )
            for name, chunks in self._chunks.items()
            if any(other is not None for _, _, other in chunks)
        }

    def _present(self) -> dict[str, Flags]:
        return {n: np.concatenate([c[1] for c in chunks]) for n, chunks in self._chunks.items()}


def columns_by_name(mappings: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[Any]]:
    """Return what mappings hold, name by name; None where one does not have it."""
    shapes = dict.fromkeys(filter(None, map(tuple, mappings)))
    if len(shapes) == 1:  # as good as always, and five times as fast
        blank: Mapping[str, Any] = dict.fromkeys(next(iter(shapes)))
        values = zip(*((mapping or blank).values() for mapping in mappings), strict=True)
        return dict(zip(blank, values, strict=True))
    names = dict.fromkeys(name for shape in shapes for name in shape)
    return {name: [mapping.get(name) for mapping in mappings] for name in names}


def typed(values: Sequence[Any]) -> Column:
    """Return values as int64 or float64 if all are numbers, else as objects."""
    kinds = set(map(type, values)) or {object}
    # By types, not by isinstance: a bool is an int to Python, and True must not become 1.
    with suppress(OverflowError):  # an integer of more than 64 bits, which a choice may hold
        if bool not in kinds and all(issubclass(kind, int) for kind in kinds):
            return np.array(values, np.int64)
        if bool not in kinds and all(issubclass(kind, (int, float)) for kind in kinds):
            return np.array(values, np.float64)
    return np.fromiter(values, object, len(values))  # not by [:]: lists would be spread over rows


def evenly(rows: Rows, most: int) -> Rows:
    """Return at most so many of some rows, evenly spread, the first and the last among them."""
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(int)
    return np.asarray(rows[chosen], np.int64)


def joined_mixed(chunks: Sequence[Column]) -> Column:
    """Join chunks; numbers beside other values keep their own types."""
    chunks = [chunk for chunk in chunks if len(chunk)]
    if any(chunk.dtype == object for chunk in chunks):
        chunks = [chunk.astype(object) for chunk in chunks]
    return np.concatenate(chunks) if chunks else np.zeros(0, object)


def _numbers(values: Sequence[Any]) -> tuple[Numbers, Flags, Column | None]:
    """Return numbers, NaN for anything else, whether they were there, and what else there is."""
    kinds, other = set(map(type, values)), None
    if not kinds <= _NUMBER_KINDS:
        rest = (None if type(value) in _NUMBER_KINDS else value for value in values)
        other = np.fromiter(rest, object, len(values))
        values = [value if type(value) in _NUMBER_KINDS else None for value in values]
    present = [value is not None for value in values] if None in values else True
    if int in kinds:  # one of hundreds of digits, of a foreign client
        values = [_bounded(x) if type(x) is int else x for x in values]
    return np.array(values, np.float64), np.full(len(values), present, np.bool_), other


def _bounded(value: int) -> float:
    if abs(value) <= sys.float_info.max:
        return value
    return math.inf if value > 0 else -math.inf

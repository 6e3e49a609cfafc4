"""What training reported over time: the points within rounds and what each round came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from evolvent.analysis.columns import Column, decode_all
from evolvent.analysis.log import Log
from evolvent.analysis.tables.table import Table, coded, number, whole
from evolvent.errors import UnknownName
from evolvent.store.protocol import Store


def metrics_table(store: Store, study: int, names: Sequence[str] = ()) -> Table:
    """Return one row a value, by member, round and time.

    The points that training logged within a round come in the order in which they were logged,
    each with its `step`; then, without a step, what the round as a whole reported. Points of
    attempts that failed do not count. With `names`, only those metrics.

    Raises:
        UnknownName: there is no such metric; names those there are.
    """
    log = Log.read(store, study)
    places = {name: place for place, name in enumerate(log.metrics)}
    parts = [*_points(store, log, places), *_rounds(log, places)]
    member, round_, step, name, value = map(np.concatenate, zip(*parts, strict=True))
    chosen = np.lexsort((round_, member))  # stable: what a round came to stays behind its points
    if names:
        chosen = chosen[np.isin(name[chosen], _wanted(names, places))]
    return {
        "member": whole(member[chosen]),
        "round": whole(round_[chosen]),
        "step": number(step[chosen], np.isnan(step[chosen])),
        "name": coded(name[chosen], list(places)),
        "value": number(value[chosen]),
    }


def _points(store: Store, log: Log, places: dict[str, int]) -> Iterator[tuple[Column, ...]]:
    """Yield member, round, step, place of the name and value of the points, member by member.

    Names not seen before get the next places.
    """
    for member in range(log.status.members):
        found = store.points_of(log.status.id, member)
        mappings = decode_all([text for _, _, text in found])
        values = [
            (round_, step, places.setdefault(name, len(places)), value)
            for (round_, step, _), mapping in zip(found, mappings, strict=True)
            for name, value in mapping.items()
        ]
        columns = np.array(values, np.float64).reshape(-1, 4).T
        yield np.full(len(values), member), *columns


def _rounds(log: Log, places: Mapping[str, int]) -> Iterator[tuple[Column, ...]]:
    """Yield what the rounds came to in the same way, one metric after the other."""
    for name, values in log.metrics.items():
        there = log.reported[name]
        n = int(there.sum())
        step, place = np.full(n, np.nan), np.full(n, places[name])
        yield log.member[there], log.round[there], step, place, values[there]
    yield (np.zeros(0),) * 5  # so that there is something to join


def _wanted(names: Sequence[str], places: Mapping[str, int]) -> list[int]:
    for name in names:
        if name not in places:
            there = ", ".join(places) or "none yet"
            raise UnknownName(f"metrics: got {name!r}, but there are: {there}")
    return [places[name] for name in names]

"""Schedules as JSON and CSV text: every value comes back with its type and to the last bit."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evolvent.analysis.csv_rows import row_writer
from evolvent.analysis.schedule.segments import UNITS, Segment, Unit, check_segments
from evolvent.core.space import Space
from evolvent.errors import ConfigError
from evolvent.store.atomic_write import replacing
from evolvent.validation import check_choice, check_count, cut

_FORMAT, _VERSION = "evolvent schedule", 1
_FIELDS = ("format", "version", "unit", "total", "segments")
_SEGMENT = ("start", "length", "member", "hyperparameters")


def to_json(segments: Sequence[Segment], unit: Unit) -> str:
    """Return a schedule as JSON text."""
    document = {
        "format": _FORMAT,
        "version": _VERSION,
        "unit": unit,
        "total": segments[-1].end,
        "segments": [
            {
                "start": segment.start,
                "length": segment.length,
                "member": segment.member,
                "hyperparameters": _as_dicts(segment.hyperparameters),
            }
            for segment in segments
        ],
    }
    return _dumps(document, indent=2) + "\n"


def from_json(text: str) -> tuple[tuple[Segment, ...], Unit]:
    """Undo `to_json`.

    Raises:
        ConfigError: names line or segment, field, what came and what was wanted.
    """
    try:
        data = _object("schedule", strict_json(text), _FIELDS)
    except json.JSONDecodeError as e:
        raise ConfigError(f"line {e.lineno}: no JSON: {e.msg} at column {e.colno}") from e
    if data["format"] != _FORMAT:
        raise ConfigError(f"format: got {cut(data['format'])}, wanted {_FORMAT!r}")
    if check_count("version", data["version"], least=1) > _VERSION:
        raise ConfigError(
            f"version: got {data['version']}, wanted {_VERSION}: a newer evolvent wrote this"
        )
    if not isinstance(data["segments"], list):
        raise ConfigError(f"segments: got {cut(data['segments'])}, wanted a list")
    objects = [_object(f"segment {i}", x, _SEGMENT) for i, x in enumerate(data["segments"])]
    segments = tuple(Segment(**{field: x[field] for field in _SEGMENT}) for x in objects)
    check_segments(segments)
    total = segments[-1].end
    if check_count("total", data["total"], least=1) != total:
        raise ConfigError(f"total: got {data['total']}, but the segments add up to {total}")
    return segments, check_choice("unit", data["unit"], UNITS)


def to_csv(segments: Sequence[Segment], unit: Unit) -> str:
    """Return a schedule as CSV text: `start,rounds,member,` and a column per hyperparameter.

    A cell is JSON, but for strings that JSON would take for nothing else: they stand as they are.
    An empty cell means that the segment has no such hyperparameter.
    """
    rows = [Space.flatten(segment.hyperparameters) for segment in segments]
    names = list(dict.fromkeys(name for row in rows for name in row))
    for segment, row in zip(segments, rows, strict=True):
        if Space.nest(row) != segment.hyperparameters or {} in row.values():
            raise ConfigError("a CSV holds no names with dots and no empty groups: save as .json")
    text = io.StringIO()
    write = row_writer(text)
    write(["start", unit, "member", *names])
    for segment, row in zip(segments, rows, strict=True):
        member = "" if segment.member is None else segment.member
        cells = [_cell(row[name]) if name in row else "" for name in names]
        write([segment.start, segment.length, member, *cells])
    return text.getvalue()


def from_csv(text: str) -> tuple[tuple[Segment, ...], Unit]:
    """Undo `to_csv`; whether the segments fit together is not checked.

    Raises:
        ConfigError: names line and column, what came and what was wanted.
    """
    lines = _lines(text)
    _, titles = next(lines, (1, []))
    unit = next((unit for unit in UNITS if titles[:3] == ["start", unit, "member"]), None)
    if unit is None:
        raise ConfigError(
            f"line 1: got {cut(','.join(titles))}, wanted titles: start, rounds (or steps), "
            "member, and the names of hyperparameters, separated by commas"
        )
    names = titles[3:]
    _check_names(names)
    return tuple(_row(place, cells, [unit, *names]) for place, cells in lines), unit


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as e:
        raise ConfigError(f"line {reader.line_num}: no CSV: {e}") from e


def _row(line: int, cells: Sequence[str], titles: Sequence[str]) -> Segment:
    unit, *names = titles
    if len(cells) != len(names) + 3:
        raise ConfigError(f"line {line}: got {len(cells)} cells, wanted {len(names) + 3}")
    start, length, member, *values = cells
    given = {
        name: _value(f"line {line}: {name}", cell)
        for name, cell in zip(names, values, strict=True)
        if cell
    }
    return Segment(
        _count(f"line {line}: start", start),
        _count(f"line {line}: {unit}", length),
        Space.nest(given),
        _count(f"line {line}: member", member) if member else None,
    )


def _check_names(names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        if not all(part.strip() for part in name.split(".")):
            raise ConfigError(f"line 1: got the name {cut(name)} in column {i + 4}")
        if name in names[:i]:
            raise ConfigError(f"line 1: {cut(name)} is given twice")
        inside = [other for other in names if other.startswith(f"{name}.")]
        if inside:
            raise ConfigError(
                f"line 1: {cut(name)} is a hyperparameter and a group with {cut(inside[0])} in it"
            )


def _cell(value: Any) -> str:
    if not isinstance(value, str):
        return _dumps(value)
    bare = value.isprintable() and value.strip() == value != ""
    return value if bare and not _is_json(value) else json.dumps(value)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _value(what: str, cell: str) -> Any:
    if not _is_json(cell):
        return cell
    try:
        return strict_json(cell)
    except ConfigError as e:
        raise ConfigError(f"{what}: {e}") from e


def _count(what: str, cell: str) -> Any:
    if not (cell.isascii() and cell.isdecimal() and len(cell) < 19):  # fits into 64 bits
        raise ConfigError(f"{what}: got {cut(cell)}, wanted a whole number, 0 or more")
    return int(cell)


def _object(what: str, data: Any, fields: Iterable[str]) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise ConfigError(f"{what}: got {cut(data)}, wanted an object with {', '.join(fields)}")
    for field in fields:
        if field not in data:
            raise ConfigError(f"{what}: lacks the field {field!r}")
    return data


def _as_dicts(values: Mapping[str, Any]) -> dict[str, Any]:
    return {n: _as_dicts(v) if isinstance(v, Mapping) else v for n, v in values.items()}


def _dumps(value: Any, **form: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False, **form)
    except (TypeError, ValueError) as e:
        raise ConfigError(f"a schedule with such a value cannot be written: {e}") from e


def read_text(path: str | Path) -> str:
    """Return the text of a file.

    Raises:
        ConfigError: it cannot be read, or is no UTF-8.
    """
    try:
        return Path(path).read_bytes().decode("utf-8-sig")  # some spreadsheets mark their UTF-8
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path}: byte {e.start} is no UTF-8 text") from e


def write_text(path: str | Path, text: str) -> None:
    """Write a file; when that fails, what was there before is still there.

    Raises:
        ConfigError: it cannot be written.
    """
    with replacing(path, error=ConfigError) as aside:
        aside.write_text(text, encoding="utf-8", newline="")


def strict_json(text: str) -> Any:
    """Return the value of JSON text.

    Raises:
        JSONDecodeError: it is no JSON; the caller knows which line it is.
        ConfigError: it has NaN or infinities, a name twice, or nests beyond reason.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except (json.JSONDecodeError, ConfigError):
        raise
    except (ValueError, RecursionError) as e:  # a number of thousands of digits, [[[[[[...
        raise ConfigError(f"no JSON that can be read: {e}") from e


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ConfigError(f"{name!r} is given twice")
        values[name] = value
    return values


def _refuse(constant: str) -> Any:
    raise ConfigError(f"got {constant}, wanted a finite number")

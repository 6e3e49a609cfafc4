"""Fields of jobs by name: what `--fields`, `--sort` and `--where` understand."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from evolvent.analysis.explain.sentences import last_line
from evolvent.analysis.tables.jobs import JOB_FIELDS, field_names
from evolvent.core.records import JobRecord
from evolvent.core.space import Space
from evolvent.core.values import as_cell
from evolvent.display.words import local_time
from evolvent.errors import UnknownName


def _reader(name: str) -> Callable[[JobRecord], Any]:
    def read(job: JobRecord) -> Any:
        value = getattr(job, name)
        return str(value) if isinstance(value, str) else value  # plain text of ids and states

    return read


def _seconds(job: JobRecord) -> float | None:
    if job.started_at is None or job.finished_at is None:
        return None
    return job.finished_at - job.started_at


_OWN = {name: _seconds if name == "seconds" else _reader(name) for name in JOB_FIELDS}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    "==": operator.eq,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r"\s*([^<>=!]+?)\s*(>=|<=|!=|==|=|>|<)\s*((?![<>=!]).*?)\s*")
_NUMBERS = (
    "member", "round", "score", "donor", "attempt", "started_at", "finished_at", "seconds",
    "lease_until",
)  # fmt: skip
_WORDS = {"true": True, "false": False, "none": None, "null": None, "-": None, "": None}


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields that the jobs of one study have.

    Attributes:
        texts: hyperparameters and metrics that have, in some job, a value that is no number.
    """

    hyperparameters: tuple[str, ...]
    metrics: tuple[str, ...]
    texts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, hyperparameters: Iterable[str], jobs: Iterable[JobRecord]) -> Fields:
        seen, names = list(jobs), tuple(hyperparameters)
        metrics = dict.fromkeys(name for job in seen for name in job.metrics)
        flat = (Space.flatten(job.hyperparameters, leaves=names) for job in seen)
        values = (item for group in (*flat, *(j.metrics for j in seen)) for item in group.items())
        texts = frozenset(name for name, value in values if not _is_number(value))
        return cls(names, tuple(metrics), texts)

    @property
    def names(self) -> list[str]:
        """All of them, each by the shortest name that means it."""
        hyperparameters, metrics = field_names(self.hyperparameters, self.metrics)
        return [*_OWN, *hyperparameters.values(), *metrics.values()]

    def getter(self, name: str) -> Callable[[JobRecord], Any]:
        """Return what reads a field from a job: by its name, or `lr` for `optimizer.lr`.

        Raises:
            UnknownName: no such field; names those there are.
        """
        group, found = self._resolve(name)
        match group:
            case "own":
                return _OWN[found]
            case "hyperparameters":
                leaves = self.hyperparameters
                return lambda job: Space.flatten(job.hyperparameters, leaves=leaves).get(found)
            case _:
                return lambda job: job.metrics.get(found)

    def _resolve(self, name: str) -> tuple[str, str]:
        group, _, rest = name.partition(".")
        if name in _OWN:
            return "own", name
        if name in self.hyperparameters:
            return "hyperparameters", name
        if name in self.metrics:
            return "metrics", name
        if group in ("hyperparameters", "metrics") and rest in getattr(self, group):
            return group, rest
        alike = [n for n in self.hyperparameters if n.rpartition(".")[2] == name]
        if len(alike) == 1:
            return "hyperparameters", alike[0]
        raise UnknownName(f"no field {name!r}; there are {', '.join(self.names)}")

    def _is_numeric(self, name: str) -> bool:
        group, found = self._resolve(name)
        texts = set(_OWN) - set(_NUMBERS) if group == "own" else self.texts
        return found not in texts

    def condition(self, text: str) -> Callable[[JobRecord], bool]:
        """Return the test that a condition such as `score>0.9` describes.

        A field without a value meets no condition but `!=` and `=none`.

        Raises:
            typer.BadParameter: it has no comparison.
            UnknownName: no such field; names those there are.
        """
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise typer.BadParameter(f"got {text!r}, wanted a comparison such as 'score>0.9'")
        read, compare, wanted = self.getter(match[1]), _COMPARE[match[2]], _value(match[3])
        if isinstance(wanted, str) and self._is_numeric(match[1]):
            raise typer.BadParameter(f"got {text!r}, but {match[1]} is compared with numbers")

        def holds(job: JobRecord) -> bool:
            value = as_cell(read(job))
            if compare in (operator.eq, operator.ne):
                return bool(compare(value, wanted))
            comparable = _is_number(value) == _is_number(wanted)
            return (
                value is not None and wanted is not None and comparable and compare(value, wanted)
            )

        return holds

    def sorted(self, jobs: Sequence[JobRecord], by: str) -> list[JobRecord]:
        """Return the jobs sorted by a field, `-field` downwards; those without a value last."""
        read = self.getter(by.removeprefix("-"))
        there = [job for job in jobs if read(job) is not None]
        missing = [job for job in jobs if read(job) is None]

        def key(job: JobRecord) -> tuple[bool, Any]:
            value = read(job)
            return (not _is_number(value), value if _is_number(value) else str(value))

        return [*sorted(there, key=key, reverse=by.startswith("-")), *missing]


def _value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return float(text)
    except ValueError:
        return text.strip("'\"")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def human_readable(names: Sequence[str], values: Sequence[Any], *, state: str) -> list[Any]:
    """Return the values of named fields as a table shows them: of a traceback its last line.

    `state` is how people are shown that of the job.
    """
    shown: dict[str, Callable[[Any], str]] = {**_SHOWN, "state": lambda _: state}
    return [
        value if value is None or name not in shown else shown[name](value)
        for name, value in zip(names, values, strict=True)
    ]


_SHOWN: dict[str, Callable[[Any], str]] = {
    "error": last_line,
    "started_at": local_time,
    "finished_at": local_time,
    "lease_until": local_time,
}

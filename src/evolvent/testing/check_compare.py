"""How two runs of the check are compared: by the objective, and by what they saved."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from evolvent.testing.check_lab import Run
from evolvent.testing.check_report import apart
from evolvent.testing.check_values import INSIDE, Kind

_ANY = f"{INSIDE}#"
_INDEX = re.compile(rf"{INSIDE}\d+(?={INSIDE}|$)")


@dataclass(frozen=True, slots=True)
class BaselineRuns:
    """Stretches of training with the same hyperparameters, with a load before each.

    Attributes:
        base: fresh weights, after `stretches` stretches.
        then, after: one more each.
    """

    base: Run
    then: Run
    after: Run
    stretches: int = 1

    @property
    def runs(self) -> tuple[Run, ...]:
        return self.base, self.then, self.after


@dataclass(slots=True)
class Comparer:
    """Compares runs, but for what differs between equal ones.

    Attributes:
        metric: the objective, if it is known.
        unsteady: names of metrics, and of values in files (those in a list have one for all of
            them), that differ from run to run.
    """

    metric: str | None
    unsteady: set[str] = field(default_factory=set)

    def note_unsteady(
        self, one: tuple[Run, Run], two: tuple[Run, Run]
    ) -> tuple[list[str], list[str]]:
        """Learn what differs between equal runs: what must not, and what does no harm.

        The objective must not, nor arrays and tensors. A list of numbers may hold run times as well
        as weights: it must not either, unless training went on alike in spite of it.

        Args:
            one: a run from fresh weights, and one that went on from there.
            two: the same again.
        """
        pairs = list(zip(one, two, strict=True))
        differences = [a.differs(b) for a, b in pairs]
        metrics = {name for a, b in pairs for name in _differing(a.metrics, b.metrics)}
        unsteady = {name: kind for values in differences for name, kind in values.items()}
        self.get_used_to(
            [*metrics, *unsteady, *(name for run in (*one, *two) for name in run.times)]
        )
        matters = {name for name, kind in unsteady.items() if kind}
        if self._in_spite(one, two):
            before = {_unnumbered(name) for name in differences[0]}
            matters -= {
                name for name, kind in unsteady.items() if kind is Kind.LIST
                and not before.isdisjoint({_unnumbered(name), f"{_unnumbered(name)}{_ANY}"})
            }  # fmt: skip
        matters.update(metrics & {self._objective(one[0])})
        harmless = (metrics | unsteady.keys()) - matters
        return sorted(matters), sorted({_unnumbered(name).replace(_ANY, "") for name in harmless})

    def get_used_to(self, names: Iterable[str]) -> None:
        """From now on what differs there is no difference: it has been told."""
        self.unsteady.update(map(_unnumbered, names))

    def _in_spite(self, one: tuple[Run, Run], two: tuple[Run, Run]) -> bool:
        """Whether two equal runs went on, and came to the same, whatever differed before."""
        objective = self._objective(one[1])
        if objective is not None:
            values = [[run.metrics.get(objective) for run in runs] for runs in (one, two)]
            if repr(values[0][1]) != repr(values[1][1]):
                return False
            if repr(values[0][0]) != repr(values[0][1]):
                return True
        arrays, moved = (
            Kind.ARRAY in a.differs(b).values() for a, b in ((one[1], two[1]), one)
        )  # fmt: skip
        return moved and not arrays

    def objective_differs(self, one: Run, two: Run) -> bool:
        """Whether the objective does, where it is known and steady."""
        return (
            self.metric is not None
            and self.metric not in self.unsteady
            and self.metric in _differing(one.metrics, two.metrics)
        )

    def equal(self, one: Run, two: Run) -> bool:
        """Whether two runs came to the same."""
        return not self.apart(one, two)

    def apart(self, one: Run, two: Run) -> list[str]:
        """Return which metrics differ, and which of the state that was saved.

        Where there are arrays, they are the state, and files that cannot be read: what libraries
        write beside them, such as numbers of objects, is another in a process that has loaded.
        """
        return [*self._metrics(one, two), *self._values(one, two, state=True)]

    def beside(self, one: Run, two: Run) -> list[str]:
        """Return what differs in files beside the state."""
        return self._values(one, two, state=False)

    def moves(self, one: Run, two: Run) -> bool:
        """Whether training went on between two runs: another state, or without any, objective."""
        name = self._objective(two)
        if name is not None and not math.isfinite(two.metrics.get(name, 0.0)):
            return False
        values = self._values(one, two, state=True)
        return bool(values if two.has_arrays else [*values, *self._metrics(one, two)])

    def _metrics(self, one: Run, two: Run) -> list[str]:
        return [n for n in _differing(one.metrics, two.metrics) if n not in self.unsteady]

    def _values(self, one: Run, two: Run, *, state: bool) -> list[str]:
        values = one.differs(two)
        arrays = bool(values) and two.has_arrays
        return [
            name
            for name, kind in values.items()
            if _unnumbered(name) not in self.unsteady
            and (bool(kind) or not arrays or INSIDE not in name) == state
        ]

    def difference(self, one: Run, two: Run) -> str:
        """Say what differs between two runs: the objective, another metric, or the files only."""
        differing = self._metrics(one, two)
        files = "" if differing or not self.apart(one, two) else ", other files"
        other = bool(differing) and self.metric not in differing
        name = differing[0] if other else self._objective(one)
        if name is None:
            return f"no metrics{files}"
        old, new = apart(one.metrics.get(name), two.metrics.get(name))
        return f"{name} {old} vs {new}{files}"

    def describe(self, one: Run, two: Run) -> tuple[str, str]:
        """Return the objective with its value, of two runs, told apart if they differ."""
        name = self._objective(two)
        if name is None:
            return "no metrics", "no metrics"
        old, new = apart(one.metrics.get(name), two.metrics.get(name))
        return f"{name} {old}", f"{name} {new}"

    def _objective(self, run: Run) -> str | None:
        return self.metric or next(iter(run.metrics), None)


def _unnumbered(name: str) -> str:
    """Return one name for all that a list holds: it may grow from round to round."""
    return _INDEX.sub(_ANY, name)


def _differing(one: dict[str, Any], two: dict[str, Any]) -> list[str]:
    # by repr: a NaN is the same as a NaN here
    return sorted(n for n in one.keys() | two.keys() if repr(one.get(n)) != repr(two.get(n)))

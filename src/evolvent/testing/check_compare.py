"""How two runs of the check are compared: by the objective, and by what they saved."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from evolvent.testing.check_lab import Run
from evolvent.testing.check_report import apart, short
from evolvent.testing.check_values import INSIDE


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
        unsteady: names of metrics, and of values in files, that differ from run to run.
    """

    metric: str | None
    unsteady: set[str] = field(default_factory=set)

    def note_unsteady(self, pairs: Iterable[tuple[Run, Run]]) -> tuple[list[str], list[str]]:
        """Learn what differs between equal runs: what must not, and what does no harm.

        The objective must not, nor arrays and tensors.
        """
        matters: set[str] = set()
        for one, two in pairs:
            metrics = _differing(one.metrics, two.metrics)
            values = one.differs(two)
            self.unsteady.update(metrics, values)
            matters.update(name for name, is_array in values.items() if is_array)
            matters.update(m for m in metrics if m == self._objective(one))
        return sorted(matters), sorted(self.unsteady - matters)

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
            for name, is_array in values.items()
            if name not in self.unsteady and (is_array or not arrays or INSIDE not in name) == state
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

    def describe(self, run: Run) -> str:
        """Return the objective with its value."""
        name = self._objective(run)
        return "no metrics" if name is None else f"{name} {short(run.metrics[name])}"

    def _objective(self, run: Run) -> str | None:
        return self.metric or next(iter(run.metrics), None)


def _differing(one: dict[str, Any], two: dict[str, Any]) -> list[str]:
    # by repr: a NaN is the same as a NaN here
    return sorted(n for n in one.keys() | two.keys() if repr(one.get(n)) != repr(two.get(n)))

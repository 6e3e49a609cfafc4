"""The arms of the zoo: algorithms by name or expression, and how members take turns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Literal

import evolvent as ev
from _zoo_simulation import (
    Mode,
    Outcome,
    View,
    equal_training,
    equally_trained,
    newest_of_all,
    same_round,
    simulate,
    study_of,
)
from _zoo_tasks import TASKS, Task
from _zoo_training import TRAININGS
from evolvent.core.algorithms import Algorithm
from evolvent.core.distributions import Choice, Constant, Distribution, Normal, Ordinal
from evolvent.core.records import Value
from evolvent.core.study import StudyRecord

ARMS: Mapping[str, str] = {
    "default": "PBT()",
    "paper": "PBT.paper()",
    "ray": "PBT.ray()",
    "wide": "PBT(Truncation(0.25), [Perturb(factors=(0.5, 2)), Resample(0.1)])",
    "wide25": "PBT(Truncation(0.25), [Perturb(factors=(0.5, 2)), Resample(0.25)])",
    "tournament": "PBT(BinaryTournament(), Perturb(factors=(0.5, 2)))",
    "twothirds": "PBT(Truncation(0.25), [Perturb(factors=(2 / 3, 1.5)), Resample(0.1)])",
}
CONTROLS: Mapping[str, str] = {"random": "RandomSearch()", "constant": "constant"}
"""Always there. `constant` is the best of a grid of constants, which no search knows."""

CONSTANT = CONTROLS["constant"]
GRID = 25
"""About how many constants are tried."""

VIEWS: Mapping[str, View] = {
    "round": same_round,
    "newest": newest_of_all,
    "equal": equal_training,
    "equally": equally_trained,
}
MODES = ("sync", "1", "2", "N/2", "N", "N/2x4", "Nx4")
"""Those that are measured unless others are asked for; `mode_of` says what they mean."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One task with one interval (steps in a round), one population and one mode."""

    task: str
    interval: int
    population: int
    mode: str


@dataclass(frozen=True, slots=True)
class Arm:
    """A named algorithm.

    Attributes:
        expression: what makes it, such as `PBT(Truncation(0.25), Perturb(factors=(0.5, 2)))`; or
            `constant`.
    """

    name: str
    expression: str


RAY = Arm("ray-tune", "ray-tune")
"""Ray Tune itself, with its defaults; no simulation."""


def arm_of(text: str) -> Arm:
    """Read the name of an arm, an expression, or `name=expression`."""
    known = {**CONTROLS, **ARMS}
    name, equals, expression = text.partition("=")
    if text in known:
        name, expression = text, known[text]
    elif not equals or not name.strip().replace("-", "_").isidentifier():
        name, expression = text, text
    expression = expression.strip()
    if expression != CONSTANT:
        algorithm_of(expression)
    return Arm(name.strip(), expression)


def written_out(arm: Arm, cell: Cell) -> str:
    """Return the algorithm of an arm with all that is default in it, as its results are kept."""
    if arm.expression in (CONSTANT, RAY.expression):
        return arm.expression
    return _written_out(arm.expression, task_of(cell.task).steps // cell.interval)


@cache
def _written_out(expression: str, rounds: int) -> str:
    algorithm = algorithm_of(expression)
    return repr(algorithm.for_rounds(rounds) if isinstance(algorithm, ev.PBT) else algorithm)


@cache
def algorithm_of(expression: str) -> Algorithm:
    """Return what an expression makes; it may use all names of `evolvent`."""
    names = {name: getattr(ev, name) for name in ev.__all__ if name[0].isupper()}
    try:
        algorithm: Algorithm = eval(expression, {"ev": ev, **names})
    except Exception as e:  # whatever the code of an expression may raise
        known = ", ".join([*CONTROLS, *ARMS])
        raise SystemExit(f"arm: got {expression!r} ({e}), wanted {known} or an expression") from e
    if not hasattr(algorithm, "decide"):
        raise SystemExit(f"arm: got {expression!r}, wanted an algorithm, as PBT(Truncation(0.25))")
    return algorithm


def task_of(name: str) -> Task:
    return {**TASKS, **TRAININGS}[name]


def mode_of(text: str, population: int) -> tuple[Mode, View]:
    """Read a mode: `sync`, or workers[xSPREAD][@report][@VIEW], such as `2`, `N/2`, `Nx4@report`.

    `N` is the population, SPREAD how much slower the slowest worker is, and VIEW what a member
    is shown of its peers, one of `VIEWS`.
    """
    turns, *asked = text.split("@")
    views = [name for name in asked if name != "report"] or ["round"]
    count, _, spread = turns.partition("x")
    try:
        if turns == "sync":
            return Mode(), VIEWS[views[0]]
        share = {"N": 1, "N/2": 2}.get(count)
        workers = int(count) if share is None else max(population // share, 1)
        decide: Literal["claim", "report"] = "report" if "report" in asked else "claim"
        if workers < 1 or not 1 <= float(spread or 1) < math.inf:
            raise ValueError
        return Mode(workers, float(spread or 1), decide), VIEWS[views[0]]
    except (KeyError, ValueError) as e:
        wanted = f"sync, or such as 2, N/2, Nx4, N@report, N/2@{'|'.join(VIEWS)}"
        raise SystemExit(f"mode: got {text!r}, wanted {wanted}") from e


def run_arm(task: Task, cell: Cell, arm: Arm, seed: int) -> Outcome:
    """Run one study of an arm."""
    mode, view = mode_of(cell.mode, cell.population)
    constant = arm.expression == CONSTANT
    study = study_of(
        task,
        ev.RandomSearch() if constant else algorithm_of(arm.expression),
        population=cell.population,
        interval=cell.interval,
        seed=seed,
        synchronous=mode.workers is None,
    )
    if constant:
        study = _of_constants(task, study)
    return simulate(task, study, mode, view=view)[0]


def _of_constants(task: Task, study: StudyRecord) -> StudyRecord:
    n = max(2, round(GRID ** (1 / len(task.space))))
    axes = [_points(distribution, n) for distribution in task.space.values()]
    constants = tuple(dict(zip(task.space, values, strict=True)) for values in product(*axes))
    return replace(study, population=len(constants), initial=constants)


def _points(distribution: Distribution, n: int) -> list[Value]:
    """Return `n` values from one bound to the other, even on the scale of the distribution."""
    if isinstance(distribution, Constant):
        return [distribution.value]
    if isinstance(distribution, Choice):
        return list(distribution.values)
    if isinstance(distribution, Ordinal):
        last = len(distribution.values) - 1
        return [distribution.values[i] for i in sorted({j * last // (n - 1) for j in range(n)})]
    if isinstance(distribution, Normal):
        raise SystemExit("constants: a Normal has no bounds between which to lay a grid")
    low, high = distribution.scaled(distribution.low), distribution.scaled(distribution.high)
    between = (low + (high - low) * i / (n - 1) for i in range(n))
    return [distribution.clip(distribution.unscaled(x)) for x in between]

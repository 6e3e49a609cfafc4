"""The arms of the zoo: algorithms by name or expression, and how members take turns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import evolvent as ev
from _zoo_simulation import Mode, Outcome, View, equal_training, newest_of_all, simulate, study_of
from _zoo_tasks import Task
from evolvent.core.algorithms import Algorithm
from evolvent.core.distributions import Choice, Constant, Distribution, Normal, Ordinal
from evolvent.core.records import Value
from evolvent.core.study import StudyRecord

ARMS: Mapping[str, str] = {
    "default": "PBT()",
    "old": "PBT(Truncation(0.2), Perturb((0.8, 1.2)))",
    "paper": "PBT(Truncation(0.2), Perturb((0.8, 1.2)))",
    "ray": "PBT(Truncation(0.25), [Perturb((0.8, 1.2)), Resample(0.25)])",
    "wide": "PBT(Truncation(0.25), [Perturb((0.5, 2)), Resample(0.1)])",
    "wide25": "PBT(Truncation(0.25), [Perturb((0.5, 2)), Resample(0.25)])",
    "tournament": "PBT(BinaryTournament(), Perturb((0.5, 2)))",
    "twothirds": "PBT(Truncation(0.25), [Perturb((2 / 3, 1.5)), Resample(0.1)])",
}
CONTROLS: Mapping[str, str] = {"random": "RandomSearch()", "constant": "constant"}
"""Always there. `constant` is the best of a grid of constants, which no search knows."""

GRID = 25
"""About how many constants are tried."""

VIEWS: Mapping[str, View] = {"newest": newest_of_all, "equal": equal_training}
MODES = ("sync", "2", "N/2", "Nx4")
"""Those that are measured unless others are asked for; `mode_of` says what they mean."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One task with one interval (steps in a round), one population and one mode."""

    task: str
    interval: int
    population: int
    mode: str


def algorithm_of(text: str) -> Algorithm:
    """Return the algorithm of an expression such as `PBT(Truncation(0.25), Perturb((0.5, 2)))`."""
    names = {name: getattr(ev, name) for name in ev.__all__ if name[0].isupper()}
    algorithm: Algorithm = eval(text, {"ev": ev, **names})
    if not hasattr(algorithm, "decide"):
        raise SystemExit(f"{text}: wanted an algorithm such as PBT(Truncation(0.25))")
    return algorithm


def described(text: str) -> str:
    """Return an arm as its results are kept: with what its defaults are today."""
    return text if text == CONTROLS["constant"] else repr(algorithm_of(text))


def mode_of(text: str, population: int) -> tuple[Mode, View]:
    """Read a mode: `sync`, or workers[xSPREAD][@report][@VIEW], such as `2`, `N/2`, `Nx4@report`.

    `N` is the population, SPREAD how much slower the slowest worker is, and VIEW what a member
    is shown of its peers: `newest` or, at `equal` training, what they had scored then.
    """
    turns, *asked = text.split("@")
    views = [name for name in asked if name != "report"]
    view = VIEWS[views[0]] if views else newest_of_all
    if turns == "sync":
        return Mode(), view
    count, _, spread = turns.partition("x")
    share = {"N": 1, "N/2": 2}.get(count)
    workers = int(count) if share is None else max(population // share, 1)
    return Mode(workers, float(spread or 1), "report" if "report" in asked else "claim"), view


def run_arm(task: Task, cell: Cell, arm: str, seed: int) -> Outcome:
    """Run one study of an arm: an expression, or `constant`."""
    mode, view = mode_of(cell.mode, cell.population)
    constant = arm == CONTROLS["constant"]
    study = study_of(
        task,
        ev.RandomSearch() if constant else algorithm_of(arm),
        population=cell.population,
        interval=cell.interval,
        seed=seed,
        synchronous=mode.workers is None,
    )
    if constant:
        study = _of_constants(task, study)
    outcome, _ = simulate(task, study, mode, view=view)
    return outcome


def _of_constants(task: Task, study: StudyRecord) -> StudyRecord:
    n = max(2, round(GRID ** (1 / len(task.space))))
    axes = [_points(distribution, n) for distribution in task.space.values()]
    constants = tuple(dict(zip(task.space, values, strict=True)) for values in product(*axes))
    return replace(study, population=len(constants), initial=constants)


def _points(distribution: Distribution, n: int) -> list[Value]:
    """Return `n` values from one bound to the other, even on the scale of the distribution."""
    if isinstance(distribution, Constant):
        return [distribution.value]
    if isinstance(distribution, (Choice, Ordinal)):
        return list(distribution.values)
    if isinstance(distribution, Normal):
        raise SystemExit("constants: a Normal has no bounds between which to lay a grid")
    low, high = distribution.scaled(distribution.low), distribution.scaled(distribution.high)
    between = (low + (high - low) * i / (n - 1) for i in range(n))
    return [distribution.clip(distribution.unscaled(x)) for x in between]

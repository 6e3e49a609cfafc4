"""What became of each hyperparameter in a decision, and which strategy did it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evolvent.core import distributions
from evolvent.core.algorithms import PBT
from evolvent.core.distributions import Distribution, Normal
from evolvent.core.exploit import NoExploit
from evolvent.core.explore import (
    Chain,
    CustomExplore,
    Explore,
    Gaussian,
    NoExplore,
    PerName,
    Perturb,
    Resample,
    Shift,
    explored_names,
)
from evolvent.core.heads import decided_head
from evolvent.core.population import Population
from evolvent.core.records import Hyperparameters, Member, Value
from evolvent.core.rng import stream
from evolvent.core.space import Space, short
from evolvent.core.study import StudyRecord

STATIC = "stays with the weights"
"""What became of a hyperparameter that exploring leaves alone, such as a Choice nobody named."""


@dataclass(frozen=True, slots=True)
class Change:
    """One hyperparameter before and after a decision.

    Attributes:
        name: flat.
        before: what the member itself had trained with.
        base: what exploring started from: its own value or the donor's.
        after: what the job trains with.
        how: what turned `base` into `after`, in words; "" when nothing did or it is not known.
        clipped: whether the step led out of the space and was brought back.
    """

    name: str
    before: Value
    base: Value
    after: Value
    how: str = ""
    clipped: bool = False


def untraced_changes(before: Hyperparameters, after: Hyperparameters) -> tuple[Change, ...]:
    """Return what changed where nobody knows how."""
    return tuple(Change(name, before.get(name), before.get(name), x) for name, x in after.items())


def traced_changes(
    record: StudyRecord, me: Member, population: Population, after: Hyperparameters
) -> tuple[Change, ...]:
    """Return how a decision of `me` came to the hyperparameters `after`, by exploring again.

    The population is as the decision saw it.
    """
    algorithm = record.algorithm
    if not isinstance(algorithm, PBT):
        return untraced_changes(me.hyperparameters, after)
    trace = _Trace(stream(record.seed, "decide", me.id, me.round))
    base: Hyperparameters = me.hyperparameters
    explore: Any = algorithm.explore  # one strategy: PBT has made it of what it was given
    explores = True
    # Exploit draws before explore does: it has to be asked again, or explore would get its draws.
    exploit = algorithm.exploit_strategy
    if not isinstance(exploit, NoExploit):
        copies = exploit(me, population, rng=trace.rng) is not None
        explores = copies or (algorithm.explore_all and not me.failed)
        base = _explored_from(algorithm, record, me, population)
    traced = trace.walk(explore, base, record.space) if explores else {}
    if {**base, **traced} != dict(after):  # a strategy that does not give the same twice
        trace = _Trace(trace.rng)
    static = record.space.keys() - explored_names(explore, record.space) if explores else ()
    for name in static:
        if not isinstance(record.space[name], distributions.Constant):
            trace.notes[name] = [STATIC]
    return tuple(
        Change(
            name, me.hyperparameters[name], base[name], value,
            ", then ".join(trace.notes.get(name, ())), name in trace.clipped,
        )
        for name, value in after.items()
    )  # fmt: skip


def _explored_from(
    algorithm: PBT, record: StudyRecord, me: Member, population: Population
) -> Hyperparameters:
    """Return what exploring started from: what the same algorithm decides without exploring."""
    explore: Any = algorithm.explore
    # By name, so that the same hyperparameters are static.
    unexplored: Any = {name: NoExplore() for name in explored_names(explore, record.space)}
    study = replace(record, algorithm=replace(algorithm, explore=unexplored))
    return decided_head(study, me, parent=None, population=population).hyperparameters


class _Trace:
    """Explores with the draws of the decision, one hyperparameter at a time, and takes notes."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.notes: dict[str, list[str]] = {}
        self.clipped: set[str] = set()

    def walk(self, strategy: Explore, values: Hyperparameters, space: Space) -> Mapping[str, Value]:
        """Return the new values of the hyperparameters of `space`."""
        match strategy:
            case Chain(steps=steps):
                for step in steps:
                    values = {**values, **self.walk(step, values, space)}
                return values
            case PerName():
                for one, part in strategy.parts(space):
                    values = {**values, **self.walk(one, values, part)}
                return values
            case Perturb() | Gaussian() | Resample() | Shift() | NoExplore():
                return {
                    name: self._explore_name(strategy, values, space.only((name,)))
                    for name in space
                }
            case _:
                return self._explore_all(strategy, values, space)

    def _explore_name(self, strategy: Explore, values: Hyperparameters, space: Space) -> Value:
        [(name, distribution)] = space.items()
        twin = deepcopy(self.rng)  # draws what `rng` is about to draw
        new = strategy(values, space, rng=self.rng)[name]
        note, clipped = _note(strategy, distribution, values[name], new, twin)
        if note:
            self.notes.setdefault(name, []).append(note)
        if clipped:
            self.clipped.add(name)
        return new

    def _explore_all(
        self, strategy: Explore, values: Hyperparameters, space: Space
    ) -> Mapping[str, Value]:
        own = {name: values[name] for name in space}
        new = strategy(own, space, rng=self.rng)
        label = type(strategy).__name__
        if isinstance(strategy, CustomExplore):
            label = str(getattr(strategy.fn, "__name__", strategy.fn)).rpartition(":")[2]
        for name in space:
            if new[name] != own[name]:
                self.notes.setdefault(name, []).append(f"set by {label}")
        return new


def _note(
    strategy: Explore, distribution: Distribution, old: Value, new: Value,
    rng: np.random.Generator,
) -> tuple[str, bool]:  # fmt: skip
    """Return what a strategy did to a value in words, and whether a bound held it back."""
    if isinstance(strategy, NoExplore) or isinstance(distribution, distributions.Constant):
        return "", False
    if isinstance(strategy, Resample) or isinstance(distribution, distributions.Choice):
        return ("drawn anew" if _drew(strategy, distribution, rng) else ""), False
    if isinstance(distribution, distributions.Ordinal):
        return _step_note(distribution.place(new) - distribution.place(old)), False
    if isinstance(strategy, (Perturb, Gaussian)):
        return _move_note(strategy, distribution, float(old), rng)  # type: ignore[arg-type]
    return _step_note(float(new) - float(old)), False  # type: ignore[arg-type]  # Shift of an integer


def _drew(strategy: Any, distribution: Distribution, rng: np.random.Generator) -> bool:
    if isinstance(distribution, distributions.Choice) and not strategy.choices:
        return False
    return not isinstance(strategy, Resample) or rng.random() < strategy.probability


def _step_note(step: float) -> str:
    if step == 0:
        return "at the end, stays"
    return "one up" if step > 0 else "one down"


def _move_note(
    strategy: Perturb | Gaussian, distribution: Any, old: float, rng: np.random.Generator
) -> tuple[str, bool]:
    """Say how a number was moved, by drawing the step again."""
    if isinstance(strategy, Perturb):
        step = strategy.draw(rng)
        moved = "" if strategy.multiplies(distribution) else "1 - value "
        note = f"{moved}x{step:.4g}"
    else:
        step = strategy.draw(distribution, rng)
        if isinstance(distribution, distributions.Logarithmic):
            note = f"x{math.exp(step):.4g} (noise)"
        elif isinstance(distribution, distributions.ReverseLogUniform):
            note = f"1 - value x{math.exp(-step):.4g} (noise)"
        else:
            note = f"{step:+.4g} (noise)"
    target = strategy.target(distribution, old, step)
    if not isinstance(distribution, Normal) and not distribution.low <= target <= distribution.high:
        held = "clipped" if strategy.bounds == "clip" else "mirrored"
        bound = distribution.low if target < distribution.low else distribution.high
        return f"{note}, {held} at {short(bound)}", True
    if isinstance(distribution, distributions.Integers):
        note += ", rounded"
    return note, False

"""Tasks of the zoo with known optima: each trains in microseconds, without sampling noise.

Where the hyperparameters stay the same for a whole round, its steps are taken at once, in closed
form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from evolvent import LogUniform, Uniform
from evolvent.core.records import Hyperparameters
from evolvent.core.rng import draw_normal, stream
from evolvent.core.space import Space

BEST = 1.2
"""Q at the top of the hills."""


class Trained(NamedTuple):
    """What a round leaves: the state, the score that is reported, and the score without noise."""

    state: Any
    score: float
    true_score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Something to train, for a fixed number of steps.

    Attributes:
        family: tasks of one family count once in the mean over the zoo.
        space: what is searched.
        start: from the seed of a member's first job to its state before the first step.
        train: from state, hyperparameters, a number of steps and the seed of the job to what is
            left; higher scores are better. It never changes the state that it is given.
        steps: of every member, in all.
        intervals: steps in a round; each divides `steps`.
        populations: how many members there are.
        initial: from the seed of a study and its population to hyperparameters of the first
            members; those of the others are drawn from the space.
    """

    name: str
    family: str
    space: Space
    start: Callable[[int], Any]
    train: Callable[[Any, Hyperparameters, int, int], Trained]
    steps: int
    intervals: tuple[int, ...]
    populations: tuple[int, ...] = (4, 8, 32)
    initial: Callable[[int, int], tuple[Hyperparameters, ...]] = lambda seed, population: ()


SLOPE = 0.01
"""Learning rate of the toy."""


def train_toy(
    state: tuple[float, float], values: Mapping[str, Any], steps: int, seed: int
) -> Trained:
    """Climb Q = 1.2 - θ0² - θ1² by gradients of 1.2 - h0 θ0² - h1 θ1².

    Source: Jaderberg et al. 2017, arXiv:1711.09846, Figure 2.
    """
    theta0 = state[0] * (1.0 - 2.0 * SLOPE * values["h0"]) ** steps
    theta1 = state[1] * (1.0 - 2.0 * SLOPE * values["h1"]) ** steps
    q = BEST - theta0 * theta0 - theta1 * theta1
    return Trained((theta0, theta1), q, q)


def train_plain(theta: float, values: Mapping[str, Any], steps: int, seed: int) -> Trained:
    """Climb 1.2 - θ² the faster the lower h is; a step here is 20 of the source.

    Source: Chebykin et al. 2025, "To be greedy, or not to be" (TMLR), likewise `train_deceptive`.
    """
    theta *= (1.0 - 0.002 * (2.0 - values["h"])) ** (20 * steps)
    return _of_hill(theta, theta)


DECEPTIVE_STEPS = 50


def train_deceptive(
    state: tuple[float, float, int], values: Mapping[str, Any], steps: int, seed: int
) -> Trained:
    """Climb 1.2 - θ² where lowering h too early pays at once and costs for the rest of the run.

    The state is θ, the penalty so far and how many steps have been taken; all three are copied.
    """
    theta, penalty, taken = state
    h = values["h"]
    for _ in range(steps):
        penalty += abs(h - (1.0 - taken / DECEPTIVE_STEPS))
        theta *= (1.0 - 0.002 * max(2.0 - h - 0.2 * penalty, 0.0)) ** 20
        taken += 1
    return _of_hill((theta, penalty, taken), theta)


def _of_hill(state: Any, theta: float) -> Trained:
    q = BEST - theta * theta
    return Trained(state, q, q)


CURVATURES = 1.0 / np.arange(1, 101)
NOISE = CURVATURES / 10


def train_quadratic(
    variances: np.ndarray[Any, Any],
    values: Mapping[str, Any],
    steps: int,
    seed: int,
    *,
    noise: float = 0.0,
) -> Trained:
    """Take steps of SGD on the noisy quadratic NQM-100, followed exactly in expectation.

    The state is E[θ_i²], float [100]. Reported is the negative logarithm of the loss, with normal
    noise of standard deviation `noise`; the true score is the negative loss.

    Source: Zhang et al. 2019, arXiv:1907.04164.
    """
    lr = values["lr"]
    factor = (1.0 - lr * CURVATURES) ** 2
    shrunk = factor**steps
    limit = lr * lr * NOISE / (1.0 - factor)
    variances = limit + shrunk * (variances - limit)
    loss = 0.5 * float(CURVATURES @ variances)
    score = -math.log(loss)
    if noise:
        score += noise * draw_normal(stream(seed, "evaluation", 0, 0))
    return Trained(variances, score, -loss)


def _slow_start(seed: int, population: int) -> tuple[Hyperparameters, ...]:
    """Draw the first h of the hills by the source: far from the greedy end of the space."""
    start = Uniform(0.9, 1.1)
    streams = (stream(seed, "slow start", member, 0) for member in range(population))
    return tuple({"h": start.sample(rng)} for rng in streams)


_H = Space.of({"h": Uniform(1e-4, 1.1)})
_LR = Space.of({"lr": LogUniform(1e-3, 1.0)})
_TOY = Space.of({"h0": Uniform(0.0, 1.0), "h1": Uniform(0.0, 1.0)})
_QUADRATIC: Mapping[str, Any] = {
    "space": _LR,
    "start": lambda seed: np.ones(len(CURVATURES)),
    "steps": 250,
    "intervals": (5, 10, 25),
}
_HILL: Mapping[str, Any] = {
    "space": _H,
    "steps": DECEPTIVE_STEPS,
    "intervals": (1, 5, 10),
    "initial": _slow_start,
}
_HILLS: Mapping[str, Any] = {
    "space": _TOY,
    "start": lambda seed: (0.9, 0.9),
    "train": train_toy,
    "steps": 200,
    "intervals": (4, 10, 20),
}

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="fig2",
            family="toy",
            populations=(2,),
            initial=lambda seed, population: ({"h0": 1.0, "h1": 0.0}, {"h0": 0.0, "h1": 1.0}),
            **_HILLS,
        ),
        Task(name="toy", family="toy", **_HILLS),
        Task(name="plain", family="plain", start=lambda seed: 0.9, train=train_plain, **_HILL),
        Task(
            name="deceptive",
            family="deceptive",
            start=lambda seed: (0.9, 0.0, 0),
            train=train_deceptive,
            **_HILL,
        ),
        Task(name="nqm", family="nqm", train=train_quadratic, **_QUADRATIC),
        *(
            Task(
                name=f"nqm-noise-{noise}",
                family="nqm with noise",
                train=partial(train_quadratic, noise=noise),
                **_QUADRATIC,
            )
            for noise in (0.1, 0.5)
        ),
    )
}

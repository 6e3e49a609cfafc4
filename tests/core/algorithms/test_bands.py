"""Published and independently computed results on toy problems, as bands that PBT must hit.

Each row is a mean and a standard deviation over many runs of another implementation. A mean over
n runs may differ by 4 standard errors and a little more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from evolvent.core.algorithms import PBT
from evolvent.core.distributions import Uniform
from evolvent.core.exploit import BinaryTournament, CopyBest, NoExploit, Truncation
from evolvent.core.explore import Gaussian, NoExplore
from evolvent.core.population import Population
from evolvent.core.records import Copy, Keep, Member
from evolvent.core.rng import deferred, stream
from evolvent.core.space import Space

ETA = 0.01
SPACE = Space.of({"h0": Uniform(0.0, 1.0), "h1": Uniform(0.0, 1.0)})
GRID = [{"h0": 1.0, "h1": 0.0}, {"h0": 0.0, "h1": 1.0}]
NOISE = Gaussian(0.1)


def train(
    algorithm: PBT, start: Sequence[Any], *, steps: int, interval: int, seed: int
) -> tuple[float, float]:
    """Ascend 1.2 - h0 a^2 - h1 b^2 from (0.9, 0.9); return the best 1.2 - a^2 - b^2 and its top."""
    weights, values = [(0.9, 0.9)] * len(start), list(start)
    best = top = -math.inf
    for t in range(steps // interval):
        weights = [
            (
                a * (1 - 2 * ETA * h["h0"]) ** interval,
                b * (1 - 2 * ETA * h["h1"]) ** interval,
            )
            for (a, b), h in zip(weights, values, strict=True)
        ]
        scores = [1.2 - a * a - b * b for a, b in weights]
        people = Population(
            Member(i, t, score, h) for i, (score, h) in enumerate(zip(scores, values, strict=True))
        )
        decisions = [
            algorithm.decide(me, people, space=SPACE, rng=deferred(seed, "decide", me.id, t))
            for me in people
        ]
        before, best, top = weights, max(scores), max(top, *scores)
        weights = [
            before[d.donor] if isinstance(d, Copy) else own
            for d, own in zip(decisions, before, strict=True)
        ]
        values = [
            h if isinstance(d, Keep) and d.hyperparameters is None else dict(d.hyperparameters)
            for d, h in zip(decisions, values, strict=True)
        ]
    return best, top


def oracle(steps: int) -> float:
    """What h = (1, 1) reaches, and no run with h of at most 1 can exceed."""
    return 1.2 - 1.62 * 0.98 ** (2 * steps)


def in_band(results: Sequence[float], mean: float, sd: float) -> bool:
    tolerance = 4 * sd / math.sqrt(len(results)) + 0.002
    return abs(float(np.mean(results)) - mean) <= tolerance


COPY = BinaryTournament()
FIG_2 = [  # steps, interval, algorithm, mean, sd
    pytest.param(200, 4, PBT(COPY, NoExplore(), copies="weights"), 1.1715, 0.0, id="200/4 exploit"),
    pytest.param(200, 4, PBT(COPY, NoExplore()), 0.3897, 0.0, id="200/4 exploit both"),
    pytest.param(200, 4, PBT(NoExploit(), NOISE), 1.124, 0.085, id="200/4 explore"),
    pytest.param(200, 4, PBT(COPY, NOISE, copies="weights"), 1.1737, 0.0238, id="200/4 weights"),
    pytest.param(200, 4, PBT(COPY, NOISE), 1.1962, 0.0038, id="200/4 PBT"),
    pytest.param(200, 10, PBT(NoExploit(), NOISE), 1.031, 0.136, id="200/10 explore"),
    pytest.param(200, 10, PBT(COPY, NOISE, copies="weights"), 1.1713, 0.015, id="200/10 weights"),
    pytest.param(200, 10, PBT(COPY, NOISE), 1.142, 0.066, id="200/10 PBT"),
    pytest.param(75, 1, PBT(COPY, NoExplore(), copies="weights"), 0.8439, 0.0, id="75/1 exploit"),
    pytest.param(75, 1, PBT(NoExploit(), NOISE), 0.849, 0.122, id="75/1 explore"),
    pytest.param(75, 1, PBT(COPY, NOISE, copies="weights"), 0.923, 0.076, id="75/1 weights"),
    pytest.param(75, 1, PBT(COPY, NOISE), 1.083, 0.016, id="75/1 PBT"),
    pytest.param(300, 4, PBT(COPY, NOISE), 1.1999, 0.0001, id="300/4 PBT"),
    pytest.param(300, 4, PBT(NoExploit(), NOISE), 1.182, 0.035, id="300/4 explore"),
]


@pytest.mark.parametrize(("steps", "interval", "algorithm", "mean", "sd"), FIG_2)
def test_figure_2_of_the_paper(
    steps: int, interval: int, algorithm: PBT, mean: float, sd: float
) -> None:
    runs = 150 if sd else 2
    found = [
        train(algorithm, GRID, steps=steps, interval=interval, seed=seed) for seed in range(runs)
    ]
    assert in_band([best for best, _ in found], mean, sd)
    assert max(top for _, top in found) <= oracle(steps) + 1e-12


@pytest.mark.parametrize("steps", [75, 200])
def test_a_grid_search_never_copies_and_never_explores(steps: int) -> None:
    best, top = train(PBT(NoExploit(), NoExplore()), GRID, steps=steps, interval=1, seed=0)
    assert best == top == pytest.approx(0.39 - 0.81 * 0.98 ** (2 * steps), abs=1e-12)
    assert top < 0.39


def grown(exploit: Any, n: int, *, copies: Any = "both", runs: int) -> list[float]:
    found = []
    for seed in range(runs):
        start = [SPACE.sample(rng=stream(seed, "initial", i, 0)) for i in range(n)]
        algorithm = PBT(exploit, NOISE, copies=copies)
        best, top = train(algorithm, start, steps=150, interval=10, seed=seed)
        assert top <= oracle(150) + 1e-12
        found.append(best)
    return found


SIZES = {  # members: mean and sd with best-copy, weights only, truncation
    1: ((0.930, 0.264), (0.930, 0.264), (0.930, 0.264)),
    2: ((1.161, 0.052), (1.115, 0.092), (1.161, 0.052)),
    4: ((1.1922, 0.0063), (1.167, 0.034), (1.179, 0.036)),
    8: ((1.1952, 0.0010), (1.186, 0.010), (1.190, 0.010)),
    16: ((1.1958, 0.0003), (1.192, 0.004), (1.1947, 0.0017)),
    32: ((1.1960, 0.0002), (1.194, 0.0016), (1.1954, 0.0007)),
}
RUNS = {1: 300, 2: 200, 4: 100, 8: 50, 16: 25, 32: 15}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(
    ("exploit", "copies", "column"),
    [(CopyBest(), "both", 0), (CopyBest(), "weights", 1), (Truncation(0.2), "both", 2)],
    ids=["best-copy", "weights", "truncation"],
)
def test_results_by_population_size(exploit: Any, copies: Any, column: int, n: int) -> None:
    mean, sd = SIZES[n][column]
    assert in_band(grown(exploit, n, copies=copies, runs=RUNS[n]), mean, sd)


def test_every_doubling_of_the_population_helps_less_than_the_one_before() -> None:
    means = [float(np.mean(grown(CopyBest(), n, runs=runs))) for n, runs in RUNS.items()]
    assert means == sorted(means)
    assert means[1] - means[0] >= 0.15
    assert means[4] - means[3] <= 0.002

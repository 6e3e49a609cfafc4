"""How long it takes to decide for a whole population at once; the goal is 50 ms for 10,000.

Usage: python benchmarks/decide.py [members]
"""

from __future__ import annotations

import sys
import time

from evolvent import (
    PBT,
    BinaryTournament,
    CopyBest,
    LogUniform,
    Member,
    Population,
    Truncation,
    Uniform,
)
from evolvent.core.algorithms import Algorithm
from evolvent.core.records import Copy
from evolvent.core.rng import deferred, stream
from evolvent.core.space import Space

SPACE = Space.of({"lr": LogUniform(1e-5, 1.0), "momentum": Uniform(0.1, 0.999)})
REPEATS = 5


def population(n: int) -> Population:
    """Return members with random scores and hyperparameters."""
    rng = stream(0, "benchmark", 0, 0)
    return Population(Member(i, 7, rng.random(), SPACE.sample(rng=rng)) for i in range(n))


def decide_all(algorithm: Algorithm, members: Population) -> tuple[float, int]:
    """Return the seconds of CPU it took, and how many members copied."""
    start = time.process_time()
    decisions = [
        algorithm.decide(me, members, space=SPACE, rng=deferred(1, "decide", me.id, me.round))
        for me in members
    ]
    seconds = time.process_time() - start
    return seconds, sum(isinstance(decision, Copy) for decision in decisions)


def main() -> None:
    """Print one line for each exploit strategy."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    members = population(n)
    for exploit in (Truncation(0.2), BinaryTournament(), CopyBest()):
        seconds, copied = min(decide_all(PBT(exploit), members) for _ in range(REPEATS))
        name = type(exploit).__name__
        print(f"{name:17} {n:7,} members {seconds * 1e3:7.1f} ms   {copied:6,} copied")


if __name__ == "__main__":
    main()

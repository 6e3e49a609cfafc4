"""How large must a population be? The hill of `toy.py`, climbed by 1, 2, 4, … 32 members.

    python examples/population_size.py [--seeds 10] [--workers 2] [--figure sizes.svg]

Every member starts with hyperparameters of its own, drawn from the unit square. More members mean
more guesses to choose from at every decision: the first doublings gain most, the later ones little.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from statistics import mean

import evolvent as ev

STEPS, INTERVAL = 150, 10
LEARNING_RATE = 0.01
SIZES = (1, 2, 4, 8, 16, 32)


def train(job: ev.Job) -> dict[str, float]:
    """One round: ten gradient steps on a hill whose slope is seen through h."""
    theta0, theta1 = 0.9, 0.9
    if job.checkpoint:
        theta0, theta1 = json.loads((job.checkpoint / "theta.json").read_text())
    h = job.hyperparameters
    for _ in range(INTERVAL):
        theta0 -= LEARNING_RATE * 2 * h["h0"] * theta0
        theta1 -= LEARNING_RATE * 2 * h["h1"] * theta1
    (job.directory / "theta.json").write_text(json.dumps([theta0, theta1]))
    loss = h["h0"] * theta0**2 + h["h1"] * theta1**2 - 1.2  # all that training sees
    return {"Q": 1.2 - theta0**2 - theta1**2, "loss": loss, "theta0": theta0, "theta1": theta1}


def best_q(population: int, seed: int, *, workers: int = 0) -> float:
    """Train one population and return the best Q it reached."""
    return max(q["Q"] for history in breed(population, seed, workers=workers) for q in history)


def breed(population: int, seed: int, *, workers: int = 0) -> list[list[dict[str, float]]]:
    """Train one population.

    Returns:
        For every member, what it reported round by round: Q, loss, theta0, theta1.
    """
    with tempfile.TemporaryDirectory() as directory:
        study = ev.create_study(
            f"{population} members",
            metric="Q",
            mode="max",
            space={"h0": ev.Uniform(0.0, 1.0), "h1": ev.Uniform(0.0, 1.0)},
            population=population,
            rounds=STEPS // INTERVAL,
            seed=seed,
            algorithm=ev.PBT(ev.CopyBest(), ev.Gaussian(0.1)),
            synchronous=True,  # the same result with any number of workers
            # worker processes meet in a file; without any, memory is enough
            store=f"sqlite:///{directory}/studies.db" if workers else "memory://",
            durability="process",
        )
        study.run(train, workers=workers, progress=False)
        done = study.jobs("done")
        return [[dict(j.metrics) for j in done if j.member == m] for m in range(population)]


def main() -> None:
    """Print a line for every size of population."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="populations of every size")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: this one")
    parser.add_argument("--figure", metavar="FILE", help="draw it: .png, .svg, .pdf or .html")
    parser.add_argument("--dark", action="store_true", help="draw it on a dark ground")
    arguments = parser.parse_args()

    print("members   mean best Q   worst")
    for population in SIZES:
        qs = [
            best_q(population, seed, workers=arguments.workers) for seed in range(arguments.seeds)
        ]
        print(f"{population:7} {mean(qs):13.4f} {min(qs):7.4f}")
    print("no h can do better than 1.1962")
    if arguments.figure:
        from figures import draw_sizes  # noqa: PLC0415 - Altair only when something is drawn

        runs = {f"{n} member{'s' * (n > 1)}": breed(n, 0) for n in SIZES}
        draw_sizes(runs, arguments.figure, interval=INTERVAL, dark=arguments.dark)


if __name__ == "__main__":
    main()

"""Figure 2 of the paper: four ways to climb a hill when the gradient shown is only a guess.

    python examples/toy.py [--steps 200] [--interval 4] [--seed 0] [--figure fig2.svg]

Wanted is the top of Q = 1.2 - θ0² - θ1². Training sees only Q' = 1.2 - h0 θ0² - h1 θ1² and takes
gradient steps on it; the hyperparameters h say which of the two weights it may move. Two members
start with h = (1, 0) and (0, 1): each can repair one weight and never the other, so neither gets
further than Q = 0.39. Only a population that trades weights reaches the top.

Source: Jaderberg et al. 2017, arXiv:1711.09846, Figure 2.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping

import evolvent as ev

LEARNING_RATE = 0.01
START = (0.9, 0.9)

MODES: Mapping[str, ev.PBT] = {
    # nobody copies, nothing changes: two runs side by side
    "grid search": ev.PBT(ev.NoExploit(), ev.NoExplore()),
    # the weights of the better, under one's own h: what one member cannot repair the other can
    "exploit only": ev.PBT(ev.CopyBest(), ev.NoExplore(), copies="weights"),
    # two random walks through h, each on its own
    "explore only": ev.PBT(ev.NoExploit(), ev.Gaussian(0.1)),
    # the weights and the h of the better, then a small step away
    "PBT": ev.PBT(ev.CopyBest(), ev.Gaussian(0.1)),
}


def train(job: ev.Job) -> dict[str, float]:
    """One round: a few gradient steps on Q', from the weights in the checkpoint."""
    theta0, theta1 = START
    if job.checkpoint:
        theta0, theta1 = json.loads((job.checkpoint / "theta.json").read_text())
    h = job.hyperparameters
    for _ in range(h["interval"]):
        theta0 -= LEARNING_RATE * 2 * h["h0"] * theta0
        theta1 -= LEARNING_RATE * 2 * h["h1"] * theta1
    (job.directory / "theta.json").write_text(json.dumps([theta0, theta1]))
    return {"Q": 1.2 - theta0**2 - theta1**2, "theta0": theta0, "theta1": theta1}


def run_mode(
    mode: str, seed: int = 0, *, steps: int = 200, interval: int = 4, synchronous: bool = True
) -> list[list[dict[str, float]]]:
    """Run one of the four modes.

    Synchronous, both members have trained for equally long, as in the figure; else the second one
    to decide may copy what is already a round ahead.

    Returns:
        For both members, what they reported round by round: Q, theta0, theta1.
    """
    study = ev.create_study(
        f"toy, {mode}",
        metric="Q",
        mode="max",
        space={"h0": ev.Uniform(0.0, 1.0), "h1": ev.Uniform(0.0, 1.0), "interval": interval},
        population=2,
        rounds=steps // interval,
        seed=seed,
        algorithm=MODES[mode],
        initial=[{"h0": 1.0, "h1": 0.0}, {"h0": 0.0, "h1": 1.0}],
        synchronous=synchronous,
        store="memory://",
        durability="process",
    )
    study.run(train, workers=0, progress=False)  # no processes: a round takes microseconds
    done = study.jobs("done")
    return [[dict(job.metrics) for job in done if job.member == member] for member in (0, 1)]


def main() -> None:
    """Run the four modes and print where they end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="gradient steps of each member")
    parser.add_argument("--interval", type=int, default=4, help="steps between two decisions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", metavar="FILE", help="draw it: .png, .svg, .pdf or .html")
    parser.add_argument("--dark", action="store_true", help="draw it on a dark ground")
    arguments = parser.parse_args()

    print("mode           best Q   theta of the best")
    runs = {}
    for mode in MODES:
        members = run_mode(mode, arguments.seed, steps=arguments.steps, interval=arguments.interval)
        runs[mode] = members
        best = max((history[-1] for history in members), key=lambda end: end["Q"])
        print(f"{mode:13} {best['Q']:7.4f}   ({best['theta0']:.4f}, {best['theta1']:.4f})")
    print("the top is    1.2000   (0, 0)")
    if arguments.figure:
        from figures import draw_modes  # noqa: PLC0415 - Altair only when something is drawn

        draw_modes(runs, arguments.figure, interval=arguments.interval, dark=arguments.dark)


if __name__ == "__main__":
    main()

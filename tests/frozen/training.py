"""The frozen study: small, synchronous, the same to the last bit wherever and however it is run."""

from __future__ import annotations

import json
import math
from typing import Any

import evolvent as ev

ROUNDS = 5


def train(job: ev.Job) -> dict[str, float]:
    """Climb from the parent's place towards 1 by sums and products; member 2 fails in round 1."""
    place = json.loads((job.checkpoint / "place.json").read_text()) if job.checkpoint else 0.0
    for step in range(3):
        rate = job.hyperparameters["rate"] * (1.0 - job.hyperparameters["drag"])
        place += rate * (1.0 - place)
        job.log(step=step, place=place)
    (job.directory / "place.json").write_text(json.dumps(place))
    failed = (job.member, job.round) == (2, 1)
    return {"height": math.nan if failed else 1.0 - (1.0 - place) ** 2, "place": place}


def new_study(store: Any, **changes: Any) -> ev.Study:
    """Write the frozen study into a store; it has not been trained."""
    settings: dict[str, Any] = {
        "metric": "height",
        "mode": "max",
        "space": {"rate": ev.Uniform(0.01, 0.2), "drag": ev.Uniform(0.1, 0.9)},
        "population": 4,
        "rounds": ROUNDS,
        "seed": 7,
        "algorithm": ev.PBT(ev.BinaryTournament(), ev.Perturb()),
        "synchronous": True,
        "durability": "process",
        "trainable": "tests.frozen.training:train",
    }
    return ev.create_study("frozen", store=store, **(settings | changes))

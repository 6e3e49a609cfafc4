"""A small study that has everything a logger must cope with, and who writes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evolvent as ev
from evolvent.engines.loggers.follower import LogFollower
from evolvent.engines.loggers.protocol import Logger

MEMBERS, ROUNDS = 4, 6
POINTS = 3
FAILED = (2, 3)  # member, round

SPACE = {
    "lr": ev.LogUniform(1e-3, 1.0),
    "net": {"activation": ev.Choice(["relu", "tanh"]), "width": ev.Ordinal([16, 32, 64])},
    "batch": 32,
}


def train(job: ev.Job) -> dict[str, float]:
    """Come nearer to 1 by `lr`; one job fails."""
    at = json.loads((job.checkpoint / "at").read_text()) if job.checkpoint else 0.0
    for batch in range(POINTS):
        at += 0.1 * job.hyperparameters["lr"] * (1 - at)
        job.log(step=10 * batch, loss=1 - at)
    (job.directory / "at").write_text(json.dumps(at))
    return {"at": float("nan") if (job.member, job.round) == FAILED else at, "loss": 1 - at}


def bred_study(store: str = "memory://", *, rounds: int = ROUNDS, **changes: Any) -> ev.Study:
    """Return a study that has been run: with copies, changed categories, points and a failure."""
    study = new_study(store, rounds=rounds, **changes)
    study.run(train, workers=0, progress=False)
    return study


def new_study(store: str = "memory://", **changes: Any) -> ev.Study:
    """Return the same study before it is run."""
    settings: dict[str, Any] = {
        "metric": "at", "mode": "max", "space": SPACE, "population": MEMBERS, "rounds": ROUNDS,
        "seed": 3, "synchronous": True, "durability": "process", "resume": True,
        "algorithm": ev.PBT(ev.Truncation(0.25), ev.Perturb()),
    }  # fmt: skip
    return ev.create_study("bred", store=store, **(settings | changes))


def write(study: ev.Study, logger: Logger) -> None:
    """Write the log as it stands, as `evolvent log` does."""
    logger.check(study.status())
    follower = LogFollower(study.store, study.id, logger)
    try:
        follower.catch_up()
    finally:
        follower.close()


def copies(study: ev.Study) -> dict[str, int]:
    """Return the jobs that began with a copy, with the member each copied."""
    return {str(job.id): job.donor for job in study.jobs() if job.donor is not None}


def own(study: ev.Study, member: int, of: Callable[[ev.JobRecord], Any]) -> list[Any]:
    """Return something of every finished job of a member, by its rounds."""
    jobs = [job for job in study.jobs() if job.member == member and job.state in ("done", "failed")]
    return [of(job) for job in sorted(jobs, key=lambda job: job.round)]


def url(directory: Path) -> str:
    return f"sqlite:///{directory}/evolvent.db"

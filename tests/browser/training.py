"""Training code of the browser tests, to be imported by workers."""

from __future__ import annotations

import json
import math
import random
import time

from evolvent.engines.job import Job

HOSTILE = "<script>alert(1)</script>"


def _go_on(job: Job) -> float:
    state = job.checkpoint / "state.json" if job.checkpoint else None
    return json.loads(state.read_text())["reached"] if state else 0.0


def _keep(job: Job, reached: float) -> None:
    (job.directory / "state.json").write_text(json.dumps({"reached": reached}))
    (job.directory / "weights").mkdir()
    (job.directory / "weights" / "layer-0.bin").write_bytes(bytes(2048))


def climb(job: Job) -> dict[str, float]:
    """Reach 1 sooner the nearer lr is to 0.03; log ten points on the way."""
    reached = _go_on(job)
    speed = 0.12 * math.exp(-abs(math.log10(job.hyperparameters["lr"]) + 1.5))
    for step in range(10):
        reached += (1 - reached) * speed / 10
        job.log(step=job.round * 10 + step, train_loss=1 - reached)
    _keep(job, reached)
    noise = 0.01 * (1 - reached) * math.sin(7 * job.member + 3 * job.round)
    return {"accuracy": reached + noise, "loss": 1 - reached}


def climb_slowly(job: Job) -> dict[str, float]:
    """As `climb`, at a pace that people can watch."""
    time.sleep(0.25)
    return climb(job)


def gamble(job: Job) -> dict[str, float]:
    """Report nothing but noise."""
    _keep(job, 0.0)
    return {"accuracy": random.Random(job.seed).random()}


def fall(job: Job) -> dict[str, float]:
    """Lower a metric with an unpleasant name; member 1 raises something unpleasant in round 2."""
    if job.member == 1 and job.round == 2:
        raise ValueError(f"{HOSTILE} went wrong")
    reached = _go_on(job) + 1
    _keep(job, reached)
    return {"'; DROP TABLE jobs; --": 1 / reached, HOSTILE: reached}

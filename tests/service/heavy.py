"""Training code whose checkpoints weigh a megabyte."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np

import evolvent as ev


def heavy(job: ev.Job) -> dict[str, float]:
    """Climb by `step`; save the height beside a megabyte that depends on it."""
    state = {"height": 0.0, "rounds": 0}
    if job.checkpoint is not None:
        state = json.loads((job.checkpoint / "state.json").read_text())
        assert (job.checkpoint / "weights.bin").stat().st_size == 1 << 20
    state["height"] += float(job.hyperparameters["step"])
    state["rounds"] += 1
    weights = np.random.default_rng(job.seed).bytes(1 << 20)
    (job.directory / "weights.bin").write_bytes(weights)
    (job.directory / "state.json").write_text(json.dumps(state))
    return state


def heavy_together(job: ev.Job) -> dict[str, float]:
    """`heavy`, which begins when two workers have come: one alone might do all there is to do."""
    meeting = Path(os.environ["EVOLVENT_TEST_MEETING"])
    meeting.mkdir(exist_ok=True)
    (meeting / str(os.getpid())).touch()
    while len(list(meeting.iterdir())) < 2:
        time.sleep(0.01)
    return heavy(job)

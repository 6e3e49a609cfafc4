"""The worker by itself: which thread does what."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import evolvent as ev
from evolvent.engines.worker import Worker, WorkerOptions

MAIN = threading.main_thread().name


def train(job: ev.Job) -> dict[str, float]:
    """Save so much that its hash takes more than some milliseconds anywhere."""
    (job.directory / "state").write_bytes(bytes([job.round]) * (1 << 24))
    return {"score": 1.0}


@pytest.mark.parametrize(("overlap", "in_main"), [(True, False), (False, True)])
def test_a_large_checkpoint_is_saved_while_the_next_job_trains(
    overlap: bool, in_main: bool, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = ev.create_study(
        "s", metric="score", mode="max", population=2, rounds=2, space={"lr": 1.0}, store=url
    )
    where: dict[str, bool] = {}
    options = WorkerOptions(
        overlap=overlap,
        on_job=lambda id: where.update({id: threading.current_thread().name == MAIN}),
    )
    Worker(study.store, study.id, train, options).work()
    assert where == dict.fromkeys(["m0r0", "m0r1", "m1r0", "m1r1"], in_main)

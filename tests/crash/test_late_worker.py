"""A stopped worker that wakes after its lease was given away is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evolvent.store.records import Lease, Report
from evolvent.study import Study
from tests.crash.processes import PATIENCE_S, ROOT, create, until, url_in
from tests.crash.programs import HOME

LEASE_S = 0.5


@pytest.fixture
def stopped_worker(tmp_path: Path) -> Iterator[tuple[Study, subprocess.Popen[bytes]]]:
    """Yield a study and its one worker, stopped in the training of m0r0."""
    study = create(tmp_path, population=1, rounds=2)
    held = tmp_path / "held-at-train-m0r0"
    (tmp_path / "hold-at-train-m0r0").touch()
    worker = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.crash.worker"),
            *(url_in(tmp_path), "tests.crash.programs:Held", str(LEASE_S)),
        ],
        cwd=ROOT,
        env={**os.environ, HOME: str(tmp_path)},
    )
    try:
        until(held.exists, what="m0r0 to train")
        worker.send_signal(signal.SIGSTOP)
        yield study, worker
    finally:
        worker.kill()
        worker.wait()


def take_over(study: Study) -> Lease:
    """Claim the job of the silent worker once its lease has run out."""

    def claim() -> Lease | None:
        return study.store.claim(study.id, worker="another host/1/1", lease_s=60.0)

    lease: Lease = until(claim, what="the lease to run out")
    return lease


def report(study: Study, lease: Lease) -> str:
    """Report what the other attempt would never report; return the address."""
    checkpoints = study.store.checkpoints(study.id)
    staged = checkpoints.stage("another")
    (staged / "values.json").write_text(json.dumps([100.0]))
    address = checkpoints.seal(staged)
    study.store.report(lease, Report(100.0, {"score": 100.0}, address))
    return address


def staged_by_attempt(home: Path, attempt: int) -> Callable[[], list[Path]]:
    return lambda: list(home.glob(f"study.checkpoints/*/staging/m0r0a{attempt}*"))


@pytest.mark.parametrize("when", ["before it wakes", "after it was refused"])
def test_late_worker_is_refused_and_works_on(when: str, tmp_path: Path, stopped_worker):
    study, worker = stopped_worker
    lease = take_over(study)
    assert (str(lease.job.id), lease.attempt) == ("m0r0", 2)
    address = report(study, lease) if when == "before it wakes" else ""
    worker.send_signal(signal.SIGCONT)
    (tmp_path / "held-at-train-m0r0").unlink()
    until(lambda: not staged_by_attempt(tmp_path, 1)(), what="the late worker to give up")
    if when == "after it was refused":
        assert study.job("m0r0").state == "running"
        address = report(study, lease)
    assert worker.wait(PATIENCE_S) == 0

    first, second = study.jobs()
    assert (first.id, first.attempt, first.score, first.checkpoint) == ("m0r0", 2, 100.0, address)
    assert (second.id, second.parent_checkpoint, second.metrics["steps"]) == ("m0r1", address, 4)
    assert [(f.job, f.attempt, f.failure.kind) for f in study.failures()] == [("m0r0", 1, "lost")]
    assert study.points("m0r0") == []

"""A client of a service that is killed: `python -m tests.crash.reporter URL STUDY NAME ANSWERS`.

Claims and reports as fast as it can, until the study is over. Every report that was answered is
a line in the file ANSWERS: job, attempt and score.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from evolvent.store import open_store
from evolvent.store.protocol import Store
from evolvent.store.records import Lease, Report, StudyState


def main() -> None:
    url, study, name, answers = sys.argv[1:]
    store = open_store(url)
    number = int(study)
    file = os.open(answers, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        lease = store.claim(number, worker=name, lease_s=300.0)  # nobody dies here but the service
        if lease is not None:
            score = report(store, lease)
            os.write(file, f"{lease.job.id} {lease.attempt} {score!r}\n".encode())
        elif store.status(number).state is not StudyState.OPEN:
            return
        else:
            time.sleep(0.01)


def report(store: Store, lease: Lease) -> float:
    """Save and report a job; its score tells whose it is."""
    checkpoints = store.checkpoints(lease.study)
    staged = checkpoints.stage(lease.worker)
    Path(staged, "who").write_text(f"{lease.job.id} by {lease.worker}")
    address = checkpoints.seal(staged)
    checkpoints.drop(staged)
    score = float(hash((lease.worker, lease.job.id)) % 10_000)
    store.report(lease, Report(score, {"score": score}, address))
    return score


if __name__ == "__main__":
    main()

"""A worker without a driver: `python -m tests.crash.worker URL TRAINABLE LEASE_S`."""

from __future__ import annotations

import sys

import evolvent as ev
from evolvent.engines.trainable import import_trainable
from evolvent.engines.worker import Worker, WorkerOptions


def main() -> None:
    url, trainable, lease_s = sys.argv[1:]
    study = ev.load_study(store=url)
    options = WorkerOptions(lease_s=float(lease_s))
    Worker(study.store, study.id, import_trainable(trainable), options).work()


if __name__ == "__main__":
    main()

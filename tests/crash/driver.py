"""A driver to be killed: `python -m tests.crash.driver URL WORKERS TRAINABLE LEASE_S`."""

from __future__ import annotations

import sys

import evolvent as ev


def main() -> None:
    url, workers, trainable, lease_s = sys.argv[1:]
    study = ev.load_study(store=url)
    study.run(trainable, workers=int(workers), progress=False, lease_s=float(lease_s))


if __name__ == "__main__":
    main()

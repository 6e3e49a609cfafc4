"""What the processes of the tests on many processes run; importable, to be spawned."""

from typing import Any

from evolvent.errors import EvolventError
from evolvent.store.connect import open_store
from evolvent.store.records import Report


def work(url: str, study: int, address: str, worker: str, start: Any, results: Any) -> None:
    """Claim and report until nothing is left; tell how many, or what went wrong."""
    try:
        store = open_store(url)
        start.wait()
        n_jobs = 0
        while (lease := store.claim(study, worker=worker, lease_s=3600.0)) is not None:
            score = (lease.job.member * 7 + lease.job.round) % 64 / 64
            store.report(lease, Report(score, {"accuracy": score}, address))
            n_jobs += 1
        store.close()
        results.put((worker, n_jobs))
    except EvolventError as e:
        results.put((worker, repr(e)))
        raise


def open_and_close(url: str, start: Any, results: Any) -> None:
    """Open a store at the same time as others."""
    try:
        start.wait()
        open_store(url).close()
        results.put("opened")
    except EvolventError as e:
        results.put(repr(e))
        raise

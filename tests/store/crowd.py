"""What the processes of the tests on many processes run; importable, to be spawned."""

import json
import multiprocessing
import threading
import time
from typing import Any

import evolvent as ev
from evolvent.errors import EvolventError, LeaseLost
from evolvent.store.connect import open_store
from evolvent.store.protocol import Store
from evolvent.store.records import Report, StudyState

SPAWN = multiprocessing.get_context("spawn")


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


def share_by_processes(store: Store, study: int, address: str, n: int) -> dict[str, int]:
    """Let processes do a whole study together; return how many jobs each worker has told of."""
    start, results = SPAWN.Barrier(n), SPAWN.Queue()
    processes = [
        SPAWN.Process(target=work, args=(store.url, study, address, f"w{i}", start, results))
        for i in range(n)
    ]
    for process in processes:
        process.start()
    done = dict(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    return done


def share_by_threads(store: Store, study: int, address: str, n: int) -> None:
    """Let threads do a whole study together."""

    def labour(worker: str) -> None:
        while (lease := store.claim(study, worker=worker, lease_s=3600.0)) is not None:
            store.status(study)
            store.report(lease, Report(0.5, {"accuracy": 0.5}, address))

    threads = [threading.Thread(target=labour, args=(f"w{i}",)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def open_and_close(url: str, start: Any, results: Any) -> None:
    """Open a store at the same time as others."""
    try:
        start.wait()
        open_store(url).close()
        results.put("opened")
    except EvolventError as e:
        results.put(repr(e))
        raise


def hold(url: str, study: int, told: Any) -> None:
    """Claim a job for a moment, and report it only when somebody else has it."""
    store = open_store(url)
    lease = store.claim(study, worker="w0", lease_s=0.2)
    assert lease is not None
    checkpoints = store.checkpoints(study)
    staged = checkpoints.stage("hold")
    (staged / "weights").write_text("late")
    address = checkpoints.seal(staged)
    told.put(f"claimed {lease.job.id}")
    while store.job(study, lease.job.id).attempt == lease.attempt:
        time.sleep(0.01)
    try:
        store.report(lease, Report(0.9, {"accuracy": 0.9}, address))
        told.put("reported")
    except LeaseLost:
        told.put("LeaseLost")
    store.close()


def hill(job: ev.Job) -> dict[str, float]:
    """Climb by a step that the hyperparameters choose."""
    at = json.loads((job.checkpoint / "at").read_text()) if job.checkpoint else 0.0
    at += job.hyperparameters["x"] * job.hyperparameters["y"]
    (job.directory / "at").write_text(json.dumps(at))
    return {"height": 1.0 - (at - 1.0) ** 2}


def acknowledge(
    url: str, study: int, address: str, worker: str, told: Any, start: Any = None
) -> None:
    """Work until nothing is left to do; tell every job whose report was acknowledged."""
    store = open_store(url)
    if start is not None:
        start.wait()
    while store.status(study).state is StudyState.OPEN:
        lease = store.claim(study, worker=worker, lease_s=2.0)
        if lease is None:
            time.sleep(0.01)
            continue
        score = (lease.job.member * 7 + lease.job.round) % 64 / 64
        try:
            store.report(lease, Report(score, {"accuracy": score}, address))
        except LeaseLost:  # a crash has undone the claim, or its answer was lost
            continue
        told.put(str(lease.job.id))
    store.close()

"""Kill -9 of workers, of the driver, of everything: the log ends as if nothing had happened."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Any

import psutil
import pytest

from evolvent.core.records import JobState
from evolvent.study import Study
from tests.crash.processes import Driver, assert_complete, create, driver, kill, log_of, until


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Any]]:
    """Return the log of a study that ran in this process, without workers and without kills."""
    logs: dict[str, list[Any]] = {}

    def log(**changes: Any) -> list[Any]:
        key = repr(changes)
        if key not in logs:
            study = create(tmp_path_factory.mktemp("undisturbed"), **changes)
            study.run("tests.crash.programs:Quick", workers=0, progress=False)
            logs[key] = log_of(study)
        return logs[key]

    return log


def finished(study: Study) -> int:
    counts = study.status().counts
    return counts.get(JobState.DONE, 0) + counts.get(JobState.FAILED, 0)


def assert_whole(study: Study, expected: list[Any]) -> None:
    """Nothing lost, nothing twice, nothing else; and no more on disk than is needed."""
    assert study.status().state == "finished"
    assert log_of(study) == expected
    study.collect()
    checkpoints = study.store.checkpoints(study.id)
    needed = {m.newest.checkpoint for m in study.members() if m.newest}
    needed.add(study.result().best.job.checkpoint)
    kept = {job.checkpoint for job in study.jobs() if job.checkpoint in checkpoints}
    assert kept == needed
    for address in kept:
        checkpoints.verify(address)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["train", "save"])
@pytest.mark.parametrize("job", ["m0r0", "m3r2"])
def test_worker_killed_while_it_trains_or_saves(place, job, tmp_path, undisturbed):
    study = create(tmp_path)
    (tmp_path / f"hold-at-{place}-{job}").touch()
    with driver(tmp_path, "Held", workers=1) as running:
        until((tmp_path / f"held-at-{place}-{job}").exists, what=f"{job} to {place}")
        until(lambda: len(study.jobs("running")) == 1, what="the report of the job before")
        kill(running.workers()[0].pid)
        running.wait()
    assert_whole(study, undisturbed())
    assert study.job(job).attempt == 2
    assert [str(f.job) for f in study.failures()] == [job]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_workers_gives_the_same_log(workers, tmp_path, undisturbed):
    study = create(tmp_path)
    with driver(tmp_path, "Walk", workers=workers) as running:
        running.wait()
    assert_whole(study, undisturbed())


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_twenty_killed_workers_leave_the_same_log(workers, tmp_path, undisturbed):
    study = create(tmp_path, population=8, rounds=25)
    chance = Random(workers)
    with driver(tmp_path, "Walk", workers=workers) as running:
        for _ in range(20):
            wait_for_progress(study, running, by=chance.randrange(1, 7))
            jitter(chance)
            kill(chance.choice(until(running.workers, what="a worker to kill")).pid)
        running.wait()
    assert_whole(study, undisturbed(population=8, rounds=25))


@pytest.mark.slow
def test_killed_driver_takes_its_workers_along_and_the_study_resumes(tmp_path, undisturbed):
    study = create(tmp_path)
    for jobs in (3, 9, 20):
        with driver(tmp_path, "Walk", workers=2) as running:
            until(lambda n=jobs: finished(study) >= n, what=f"{jobs} jobs")
            workers = running.workers()
            running.kill()
            for worker in workers:
                until(lambda w=worker: not lives(w), what="a worker to end")
    with driver(tmp_path, "Walk", workers=2) as running:
        running.wait()
    assert_whole(study, undisturbed())


@pytest.mark.slow
def test_everything_killed_at_once_again_and_again(tmp_path, undisturbed):
    study = create(tmp_path, rounds=20)
    chance = Random(7)
    for _ in range(8):
        with driver(tmp_path, "Walk", workers=2) as running:
            wait_for_progress(study, running, by=chance.randrange(1, 12))
            jitter(chance)
            running.kill_all()
    with driver(tmp_path, "Walk", workers=2) as running:
        running.wait()
    assert_whole(study, undisturbed(rounds=20))


@pytest.mark.slow
def test_asynchronous_study_survives_kills_with_every_job_once(tmp_path):
    study = create(tmp_path, synchronous=False, population=8, rounds=20)
    chance = Random(5)
    with driver(tmp_path, "Walk", workers=2) as running:
        for _ in range(10):
            wait_for_progress(study, running, by=chance.randrange(1, 8))
            jitter(chance)
            kill(chance.choice(until(running.workers, what="a worker to kill")).pid)
        running.wait()
    assert_complete(study, population=8, rounds=20)


def wait_for_progress(study: Study, running: Driver, *, by: int) -> None:
    """Wait until so many more jobs are in the log, or the study is over."""
    wanted = finished(study) + by
    until(lambda: finished(study) >= wanted or running.ended(), what=f"{wanted} jobs")
    assert not running.ended(), "the study was over before all kills: give it more rounds"


def jitter(chance: Random) -> None:
    """Let the kill fall at another instant of the loop every time; nothing waits for it."""
    time.sleep(chance.uniform(0.0, 0.02))


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE

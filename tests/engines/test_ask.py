from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

import evolvent as ev
from evolvent.engines.ask import AskedJob
from evolvent.store.records import Failure, FailureKind
from tests.engines.local.test_driver import new_study
from tests.engines.test_hostile import wait_until
from tests.engines.trainables import climb


@pytest.fixture(params=["memory", "sqlite"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> ev.Study:
    store = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/e.db"
    return new_study(tmp_path, store=store)


def test_a_loop_of_ones_own_trains_the_whole_study(study: ev.Study) -> None:
    while job := study.next_job(wait=True):
        with job:
            job.metrics = climb(job)
    assert study.status().state == "finished"
    assert len(study.jobs("done")) == 12


def test_an_exception_fails_the_attempt_and_goes_on_its_way(study: ev.Study) -> None:
    job = study.next_job()
    assert job is not None
    with pytest.raises(RuntimeError, match="by hand"), job:
        raise RuntimeError("by hand")
    assert study.failures()[-1].failure.message == "RuntimeError: by hand"
    assert study.job(job.id).state == "queued"


def test_a_job_without_metrics_is_handed_back(study: ev.Study) -> None:
    job = study.next_job()
    assert job is not None
    with pytest.raises(ev.TrainableError, match="'at'"), job:
        (job.directory / "x").write_text("saved but not scored")
    assert study.job(job.id).state == "queued"


def test_without_waiting_there_may_be_no_job(study: ev.Study) -> None:
    held = [study.next_job() for _ in range(4)]
    assert study.next_job() is None
    assert study.next_job(wait=True, timeout_s=0.1) is None
    for job in held:
        assert job is not None
        with job:
            job.metrics = climb(job)
    assert study.next_job() is not None


def test_what_was_saved_is_what_the_next_round_gets(study: ev.Study) -> None:
    saved = {}
    while job := study.next_job():
        with job:
            if job.checkpoint:
                parent = study.job(job.id).parent
                assert json.loads((job.checkpoint / "at.json").read_text()) == saved[parent]
            job.metrics = climb(job)
            saved[job.id] = job.metrics["at"]


def ask(study: ev.Study) -> AskedJob:
    job = study.next_job()
    assert job is not None
    return job


def take_away(study: ev.Study, job: ev.Job) -> None:
    """Give the job to another worker."""
    worker = study.job(job.id).worker
    assert worker is not None
    lost = Failure(FailureKind.LOST, "taken away")
    study.store.release(study.id, worker=worker, failure=lost)
    assert study.store.claim(study.id, worker="another", lease_s=60.0) is not None


@pytest.mark.parametrize("notices", ["in training", "at the end", "when swept"])
def test_a_lost_lease_ends_the_block_and_the_loop_goes_on(
    study: ev.Study, notices: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), ask(study) as job:
        take_away(study, job)
        if notices == "in training":
            job.lost = "told by the keeper"
            job.heartbeat()
        job.metrics = climb(job)
        if notices == "when swept":
            study.store.checkpoints(study.id).drop(job.directory)
    assert "m0r0" in caplog.text or "told by the keeper" in caplog.text
    assert study.job("m0r0").state == "running"


def test_a_job_that_cannot_be_saved_is_handed_back(study: ev.Study) -> None:
    job = ask(study)
    job.metrics = climb(job)
    (job.directory / "linked").symlink_to("/etc/hosts")
    with pytest.raises(ev.CheckpointError, match="symbolic link"), job:
        pass
    assert study.job("m0r0").state == "queued"
    assert not job.directory.exists()


def test_an_exception_is_not_hidden_by_a_lost_lease(study: ev.Study) -> None:
    job = ask(study)
    take_away(study, job)
    with pytest.raises(RuntimeError, match="by hand"), job:
        raise RuntimeError("by hand")


def test_a_job_that_is_dropped_goes_back_to_the_queue(study: ev.Study) -> None:
    ask(study)
    wait_until(lambda: study.job("m0r0").state == "queued")
    assert "without" in study.failures()[-1].failure.message


FORKS = """
import os, sys
import evolvent as ev
study = ev.load_study(store=sys.argv[1])
job = study.next_job()
with job:
    pid = os.fork()
    if pid == 0:
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    job.metrics = {"at": 1.0}
"""


def test_a_forked_process_that_leaves_the_block_ends_no_job(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    script = [sys.executable, "-W", "ignore", "-c", FORKS, study.store.url]
    subprocess.run(script, check=True, timeout=60)
    assert [(job.id, job.attempt) for job in study.jobs("done")] == [("m0r0", 1)]
    assert study.failures() == []


def test_code_that_saves_nothing_is_warned_of_once(
    study: ev.Study, caplog: pytest.LogCaptureFixture
) -> None:
    while job := study.next_job():
        with job:
            job.metrics = {"at": 1.0}
    assert caplog.text.count("has saved nothing in its directory") == 1

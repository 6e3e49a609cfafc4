"""A worker killed at every single step of claim, stage, seal, report and collection."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import evolvent as ev
from evolvent.core.records import JobState
from evolvent.study import Study
from tests.crash.processes import ROOT, create, log_of, url_in
from tests.crash.programs import Quick

POPULATION, ROUNDS = 4, 3


def study_after(home: Path, jobs: int, *, synchronous: bool) -> Study:
    """Return a study in `home` in which so many jobs are done."""
    study = create(home, population=POPULATION, rounds=ROUNDS, synchronous=synchronous)
    for _ in range(jobs):
        with study.next_job() as job:
            walk = Quick()
            walk.job = job
            context = ev.Context(study=study.name, member=job.member, seed=job.seed)
            walk.setup(job.hyperparameters, context)
            if job.checkpoint:
                walk.load(job.checkpoint)
            walk.apply(job.hyperparameters)
            job.metrics = walk.train()
            walk.save(job.directory)
    return study


@pytest.mark.slow
@pytest.mark.parametrize("synchronous", [True, False], ids=["synchronous", "asynchronous"])
@pytest.mark.parametrize("jobs", [0, 6, 7, 11], ids=lambda n: f"{n}-jobs-done")
def test_killed_at_every_step(jobs: int, synchronous: bool, tmp_path: Path):
    expected_home = tmp_path / "expected"
    expected_home.mkdir()
    expected = study_after(expected_home, POPULATION * ROUNDS, synchronous=synchronous)
    template = tmp_path / "template"
    template.mkdir()
    study_after(template, jobs, synchronous=synchronous).store.close()
    swept = tmp_path / "swept"
    swept.mkdir()
    subprocess.run(
        [sys.executable, "-m", "tests.crash.sweep", str(swept), str(template)], check=True, cwd=ROOT
    )
    homes = sorted(swept.iterdir())
    assert len(homes) > 40
    for home in homes:
        assert_survived(home, jobs, expected=log_of(expected))


def assert_survived(home: Path, jobs: int, *, expected: list[object]) -> None:
    """The log is whole, what it needs is there, and the study ends as if nothing had happened."""
    with sqlite3.connect(home / "study.db") as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",), home
    raw.close()
    study = ev.load_study(store=url_in(home))
    done = study.jobs("done")
    assert len(done) in (jobs, jobs + 1), home
    assert_needed_is_there(study)
    study.run("tests.crash.programs:Quick", workers=0, progress=False)
    assert log_of(study) == expected, home
    study.collect()
    assert_nothing_else_is_there(study, home)
    study.store.close()


def assert_needed_is_there(study: Study) -> None:
    checkpoints = study.store.checkpoints(study.id)
    best = study.status().best
    needed = {study.job(best).checkpoint} if best else set()
    needed |= {j.parent_checkpoint for j in study.jobs(JobState.QUEUED) if j.parent}
    needed |= {j.parent_checkpoint for j in study.jobs(JobState.RUNNING) if j.parent}
    for address in needed:
        checkpoints.verify(address)


def assert_nothing_else_is_there(study: Study, home: Path) -> None:
    needed = {member.newest.checkpoint for member in study.members() if member.newest}
    needed.add(study.result().best.job.checkpoint)
    objects = {p.name for p in home.glob("study.checkpoints/*/objects/*/*") if p.is_dir()}
    assert objects == needed
    leftovers = [*home.glob("study.checkpoints/*/staging/*")]
    leftovers += home.glob("study.checkpoints/*/trash/*")
    assert leftovers == []

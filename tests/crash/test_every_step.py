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
from tests.crash.processes import ROOT, assert_complete, create, log_of, url_in
from tests.crash.programs import Quick
from tests.crash.sweep import EXTENDED_TO

POPULATION, ROUNDS = 3, 3


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


def swept_homes(
    home: Path, jobs: int, *, synchronous: bool, what: str = "work", least: int = 40
) -> list[Path]:
    """Return the stores that processes have left behind which died at their 1st, 2nd, … step."""
    template, swept = home / "template", home / "swept"
    template.mkdir()
    swept.mkdir()
    study_after(template, jobs, synchronous=synchronous).store.close()
    command = [sys.executable, "-m", "tests.crash.sweep", str(swept), str(template), what]
    subprocess.run(command, check=True, cwd=ROOT)
    homes = sorted(swept.iterdir())
    assert len(homes) > least, "the sweep saw next to nothing of the work"
    return homes


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [0, 4, 5], ids=lambda n: f"{n}-jobs-done")
def test_killed_at_every_step_a_synchronous_study_ends_the_same(jobs: int, tmp_path: Path):
    expected = log_of(study_after(tmp_path, POPULATION * ROUNDS, synchronous=True))
    for home in swept_homes(tmp_path, jobs, synchronous=True):
        study = resumed(home, jobs)
        assert log_of(study) == expected, home
        assert_nothing_else_is_there(study, home)
        study.store.close()


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [4], ids=lambda n: f"{n}-jobs-done")
def test_killed_at_every_step_an_asynchronous_study_ends_whole(jobs: int, tmp_path: Path):
    for home in swept_homes(tmp_path, jobs, synchronous=False):
        study = resumed(home, jobs)
        assert_complete(study, population=POPULATION, rounds=ROUNDS)
        assert_nothing_else_is_there(study, home)
        study.store.close()


def test_killed_at_every_step_an_extension_is_told_if_it_was_made_and_once(tmp_path: Path):
    seen = set()
    for home in swept_homes(tmp_path, 4, synchronous=True, what="extend", least=5):
        study = ev.load_study(store=url_in(home))
        rounds, told = study.record.rounds, len(study.interventions())
        assert (rounds, told) in [(ROUNDS, 0), (EXTENDED_TO, 1)], home
        seen.add(told)
        study.extend(EXTENDED_TO)
        assert [i.words for i in study.interventions()] == ["extended from 3 to 9 rounds"], home
        study.store.close()
    assert seen == {0, 1}


def resumed(home: Path, jobs: int) -> Study:
    """Check what a killed worker has left behind, then run the study to its end."""
    with sqlite3.connect(home / "study.db") as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",), home
    raw.close()
    study = ev.load_study(store=url_in(home))
    done = study.jobs("done")
    assert len(done) in (jobs, jobs + 1), home
    assert_needed_is_there(study)
    study.run("tests.crash.programs:Quick", workers=0, progress=False)
    study.collect()
    return study


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

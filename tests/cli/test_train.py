"""run, resume, worker; with real processes where it is they that matter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import evolvent as ev
from evolvent.core.records import JobState
from tests import trainables
from tests.cli.commands import STUDY_FILE, evolvent, fine, new_study, study_file, trained_study

ROOT = Path(__file__).parents[2]
SLOW_FILE = STUDY_FILE.replace("trainables:climb", "trainables:climb_slowly")


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start a command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "evolvent", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def until(true: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Poll until something is true."""
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up, "waited too long"
        time.sleep(0.02)


def done(name: str = "hill") -> int:
    try:
        return ev.load_study(name).status().counts.get(JobState.DONE, 0)
    except ev.EvolventError:
        return 0


def test_run_trains_what_the_file_says_and_shows_the_best(tmp_path: Path) -> None:
    text = fine("run", study_file(tmp_path))
    study = ev.load_study("hill")
    assert study.status().state == "finished"
    assert text.startswith("hill  maximise height  3 members, 2 rounds\n")
    assert f"(job {study.result().best.job.id})" in text
    assert "\x1b" not in text


def test_run_goes_on_with_a_study_that_is_there(tmp_path: Path) -> None:
    path = study_file(tmp_path)
    first = json.loads(fine("run", path, "--json"))
    assert json.loads(fine("run", path, "--json")) == first
    assert len(ev.list_studies()) == 1


def test_run_with_more_rounds_in_the_file_extends_the_study(tmp_path: Path) -> None:
    fine("run", study_file(tmp_path))
    longer = study_file(tmp_path, STUDY_FILE.replace("rounds = 2", "rounds = 4"))
    assert json.loads(fine("run", longer, "--json"))["jobs"] == {"done": 12}


@pytest.mark.parametrize("algorithm", ["", '[algorithm]\ntype = "PBT"\n'])
def test_default_keeps_the_steps_it_began_with_when_more_rounds_are_asked_for(
    tmp_path: Path, algorithm: str
) -> None:
    text = STUDY_FILE + algorithm
    fine("run", study_file(tmp_path, text))
    begun = ev.load_study("hill").record.algorithm
    assert begun == ev.PBT().for_rounds(2)
    for rounds in (4, 4, 3):  # extended, gone on with, shortened
        fine("run", study_file(tmp_path, text.replace("rounds = 2", f"rounds = {rounds}")))
        assert ev.load_study("hill").record.algorithm == begun
    assert done() == 12


def test_run_refuses_a_study_of_that_name_with_other_settings(tmp_path: Path) -> None:
    fine("run", study_file(tmp_path))
    result = evolvent("run", study_file(tmp_path, STUDY_FILE.replace("seed = 1", "seed = 2")))
    assert result.exit_code == 1
    assert "another seed" in result.stderr


def test_run_with_json_prints_one_object_and_nothing_else(tmp_path: Path) -> None:
    result = evolvent("run", study_file(tmp_path), "--json")
    said = json.loads(result.stdout)
    assert said["state"] == "finished"
    assert said["best"]["value"] == ev.load_study("hill").result().best.value
    assert "hill  maximise height" in result.stderr


def test_run_ends_with_a_warning_where_noise_decides(tmp_path: Path) -> None:
    changed = STUDY_FILE.replace("climb", "toss").replace("= 3", "= 8").replace("= 2", "= 9")
    path = study_file(tmp_path, changed + "[algorithm]\ntype = 'PBT'\n")
    lines = fine("run", path).splitlines()
    finished = next(i for i, line in enumerate(lines) if line.startswith("finished after 72 jobs"))
    assert lines[finished + 1].startswith("warning: Much of what ranks members is noise: in rounds")
    assert max(map(len, lines[finished + 1 : finished + 5])) <= 80  # of a terminal
    again = evolvent("run", path, "--json")
    assert json.loads(again.stdout)["state"] == "finished"
    assert "\nwarning: Much of what ranks members is noise" in again.stderr


def test_run_starts_worker_processes(tmp_path: Path) -> None:
    fine("run", study_file(tmp_path), "--workers", "2")
    assert done() == 6


def test_options_go_before_what_the_file_says(tmp_path: Path) -> None:
    fine("run", study_file(tmp_path), "--store", "sqlite:///other.db")
    assert (tmp_path / "other.db").is_file()
    assert not (tmp_path / "evolvent.db").exists()


@pytest.mark.parametrize("path", ["nowhere.at_all:train", "tests.nowhere:train", "train"])
def test_run_refuses_code_that_is_nowhere_before_it_writes_anything(
    path: str, tmp_path: Path
) -> None:
    text = STUDY_FILE.replace("tests.trainables:climb", path)
    result = evolvent("run", study_file(tmp_path, text))
    assert result.exit_code == (3 if ":" in path else 1)  # not there, or no import path at all
    assert path in result.stderr
    assert not (tmp_path / "evolvent.db").exists()


def test_run_refuses_a_faulty_file_before_it_writes_anything(tmp_path: Path) -> None:
    result = evolvent("run", study_file(tmp_path, STUDY_FILE.replace("= 3", "= 0")))
    assert result.exit_code == 1
    assert "population" in result.stderr
    assert not (tmp_path / "evolvent.db").exists()


def test_study_in_which_all_fail_ends_with_the_last_traceback(tmp_path: Path) -> None:
    text = STUDY_FILE.replace("trainables:climb", "trainables:fall")
    result = evolvent("run", study_file(tmp_path, text))
    assert result.exit_code == 1
    assert "RuntimeError: no ground below" in result.stderr


def test_resume_needs_to_know_the_training_code() -> None:
    new_study(trainable=None)
    result = evolvent("resume", "--workers", "0")
    assert result.exit_code == 1
    assert "package.module:name" in result.stderr
    fine("resume", "hill", "tests.trainables:climb", "--workers", "0")
    assert done() == 6


def test_resume_goes_on_with_a_stopped_study() -> None:
    new_study()
    fine("stop")
    fine("resume", "--workers", "0")
    assert done() == 6


def test_wall_time_stops_a_run() -> None:
    new_study(rounds=1000)
    fine("resume", "--workers", "0", "--wall-time", "0.2")
    study = ev.load_study("hill")
    assert study.status().state == "stopped"
    assert "wall time" in (study.status().stopped or "")


def test_worker_must_be_told_what_to_join() -> None:
    assert evolvent("worker").exit_code == 2


def test_worker_ends_with_the_study() -> None:
    new_study()
    text = fine("worker", "sqlite:///evolvent.db", "hill", "tests.trainables:climb")
    assert done() == 6
    assert text.splitlines()[-1].startswith("finished after 6 jobs")


def test_the_last_line_counts_what_failed() -> None:
    new_study()
    text = fine("resume", "hill", "tests.trainables:stumble", "-w", "0")
    study = ev.load_study("hill")
    n_done, n_failed = len(study.jobs("done")), len(study.jobs("failed"))
    assert n_failed > 0
    assert (
        f"finished after {n_done} jobs ({n_failed} more failed: `evolvent show` says why)" in text
    )


def test_worker_does_not_start_a_stopped_study_again() -> None:
    new_study().stop("lunch")
    assert "stopped after 0 jobs: lunch" in fine("worker", "--latest")
    assert done() == 0


def test_ctrl_c_finishes_the_running_jobs_and_the_study_can_go_on(tmp_path: Path) -> None:
    path = study_file(tmp_path, SLOW_FILE.replace("rounds = 2", "rounds = 4"))
    run = start("run", path, "--workers", "1")
    until(lambda: done() >= 2)
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=30)
    assert run.returncode == 130
    assert "interrupted after" in out
    status = ev.load_study("hill").status()
    assert status.counts.get(JobState.RUNNING, 0) == 0
    assert 2 <= done() < 12
    fine("resume", "hill", "--workers", "0")
    assert done() == 12


def test_worker_in_a_second_terminal_joins_and_can_be_killed(tmp_path: Path) -> None:
    path = study_file(tmp_path, SLOW_FILE.replace("rounds = 2", "rounds = 1000"))
    run = start("run", path, "--workers", "1")
    until(lambda: done() >= 1)
    joined = start("worker", "--latest", "--lease", "1")

    def workers() -> set[str]:
        jobs = ev.load_study("hill").jobs()
        return {job.worker for job in jobs if job.worker and job.state is JobState.DONE}

    until(lambda: len(workers()) == 2)
    joined.kill()
    joined.communicate(timeout=30)
    before = done()
    until(lambda: done() >= before + 3)
    fine("stop")
    out, errors = run.communicate(timeout=30)
    assert run.returncode == 0, errors
    assert "stopped by hand" in out


def test_demo_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evolvent.demo.run.find_spec", lambda name: None)
    result = evolvent("demo")
    assert result.exit_code == 1
    assert "pip install 'evolvent[demo]'" in result.stderr


def test_trainables_of_these_tests_climb() -> None:
    study = trained_study(train=trainables.Climber)
    heights = {str(job.id): job.metrics["height"] for job in study.jobs()}
    assert all(heights[f"m{i}r1"] > heights[f"m{i}r0"] for i in range(3))

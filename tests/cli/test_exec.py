"""exec: a study trained by a command of any language."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import evolvent as ev
from tests.cli.commands import STUDY_FILE, evolvent, fine, new_study, study_file

CLIMB = """
at=0; [ -z "$2" ] || at=$(cat "$2/at")
awk -v at="$at" -v step="$1" 'BEGIN {{ printf "%.17g", at + step }}' > "$3/at"
echo "{{\\"height\\": $(cat "$3/at")}}"
"""
CLIMBING = ("--", "sh", "-c", CLIMB, "sh", "{step}", "{checkpoint}", "{directory}")
FAILING = ("--", "sh", "-c", "echo no luck >&2; exit 3")
BY_COMMAND = STUDY_FILE.replace('trainable = "tests.trainables:climb"\n', "")


def states() -> set[str]:
    return {str(job.state) for job in ev.load_study().jobs()}


@pytest.mark.slow
def test_exec_trains_a_study_to_its_end() -> None:
    study = new_study()
    text = fine("exec", "hill", *CLIMBING)
    assert "finished after 6 jobs" in text
    assert 'worker 0 | {"height": ' in text
    job = study.job("m0r0")
    assert job.metrics["height"] == job.hyperparameters["step"]


@pytest.mark.slow
def test_store_may_be_named_first(tmp_path: Path) -> None:
    new_study(store=f"sqlite:///{tmp_path}/other.db")
    fine("exec", f"sqlite:///{tmp_path}/other.db", "hill", "--workers", "2", *CLIMBING)
    assert ev.load_study(store=f"sqlite:///{tmp_path}/other.db").status().state == "finished"


def test_newest_study_is_joined_on_demand_only() -> None:
    new_study()
    assert evolvent("exec", *CLIMBING).exit_code == 2
    assert "finished" in fine("exec", "--latest", *CLIMBING)


@pytest.mark.slow
def test_study_file_is_enough(tmp_path: Path) -> None:
    file = study_file(tmp_path, BY_COMMAND)
    assert "finished after 6 jobs" in fine("exec", file, *CLIMBING)
    assert "finished after 6 jobs" in fine("exec", file, *CLIMBING)


@pytest.mark.slow
def test_option_goes_before_the_store_of_a_study_file(tmp_path: Path) -> None:
    elsewhere = f'store = "sqlite:///{tmp_path}/other.db"'
    file = study_file(tmp_path, BY_COMMAND.replace("[study]", f"[study]\n{elsewhere}"))
    fine("exec", file, "--store", "sqlite:///evolvent.db", *CLIMBING)
    assert not (tmp_path / "other.db").exists()
    fine("exec", file, *CLIMBING)
    assert (tmp_path / "other.db").exists()


def test_study_file_with_a_faulty_command_writes_nothing(tmp_path: Path) -> None:
    result = evolvent("exec", study_file(tmp_path, BY_COMMAND), "--", "sh", "{stride}")
    assert result.exit_code == 3
    assert "{stride}" in result.stderr
    assert "hyperparameters are step" in result.stderr
    assert not (tmp_path / "evolvent.db").exists()


def test_study_file_without_training_code_cannot_be_run(tmp_path: Path) -> None:
    result = evolvent("run", study_file(tmp_path, BY_COMMAND))
    assert result.exit_code == 1
    assert "evolvent exec" in result.stderr
    assert evolvent("check", "--file", study_file(tmp_path, BY_COMMAND)).exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("hill",), 2, "after --"),
        (("hill", "--"), 2, "after --"),
        (("hill", "sh", "-c", "true"), 2, ""),
        (("a", "b", "--", "sh"), 2, "[STORE] STUDY"),
        (("hill", "--once", "--workers", "2", "--", "sh"), 2, "--once"),
        (("hill", "--hang", "0", "--", "sh"), 2, "--hang"),
        (("hill", "--", "no-such-program"), 3, "no-such-program"),
        (("hill", "--", "sh", "{stride}"), 3, "{stride}"),
        (("dale", "--", "sh"), 3, "dale"),
    ],
)
def test_wrong_usage_is_told_before_a_job_is_claimed(
    arguments: tuple[str, ...], code: int, told: str
) -> None:
    study = new_study()
    result = evolvent("exec", *arguments)
    assert result.exit_code == code
    assert told in result.stderr
    assert all(job.attempt == 0 for job in study.jobs())


@pytest.mark.slow
def test_options_after_the_dashes_are_the_command_s_own() -> None:
    new_study(rounds=1, population=1)
    script = 'echo "{{\\"height\\": $#}}"'
    fine("exec", "hill", "--", "sh", "-c", script, "sh", "--once", "--", "{hyperparameters}")
    assert ev.load_study().job("m0r0").metrics["height"] == 6  # two options with their values


def test_once_runs_one_job() -> None:
    study = new_study()
    result = evolvent("exec", "hill", "--once", "--device", "cuda:1", *CLIMBING)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == study.job("m0r0").metrics
    assert result.stderr.startswith("m0r0 is done: height 0.")
    assert len(study.jobs("done")) == 1


def test_once_tells_that_its_job_failed() -> None:
    study = new_study()
    result = evolvent("exec", "hill", "--once", *FAILING)
    assert result.exit_code == 1
    assert "m0r0 is queued: the command ended with exit code 3" in result.stderr
    assert study.job("m0r0").attempt == 1
    assert evolvent("exec", "hill", "--once", "--ignore-errors", *FAILING).exit_code == 0


def test_once_says_when_there_is_nothing_to_do() -> None:
    new_study(rounds=1)
    fine("exec", "hill", *CLIMBING)
    result = evolvent("exec", "hill", "--once", *CLIMBING)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "finished" in result.stderr


@pytest.mark.slow
def test_failing_command_ends_the_worker_and_no_member_is_lost() -> None:
    new_study()
    result = evolvent("exec", "hill", *FAILING)
    assert result.exit_code == 1
    assert "no luck" in result.stderr
    assert "--ignore-errors" in result.stderr
    assert states() == {"queued"}
    assert "finished" in fine("exec", "hill", *CLIMBING)


def test_with_errors_ignored_all_members_may_fail() -> None:
    new_study(max_failures=0)
    result = evolvent("exec", "hill", "--ignore-errors", *FAILING)
    assert result.exit_code == 1
    assert "all 3 members have failed" in result.stderr
    assert "no luck" in result.stderr


def test_hanging_command_is_killed() -> None:
    new_study(max_failures=0)
    result = evolvent("exec", "hill", "--hang", "0.2", "--", "sh", "-c", "sleep 600")
    assert result.exit_code == 1
    assert "printed nothing for 0.2 s" in result.stderr


def test_interrupted_exec_finishes_its_job_and_says_so(tmp_path: Path) -> None:
    new_study(rounds=1000)
    script = f"touch {tmp_path}/on; {CLIMB}"
    words = ["exec", "hill", "--", "sh", "-c", script, *CLIMBING[4:]]
    process = subprocess.Popen(
        [sys.executable, "-m", "evolvent", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    give_up = time.monotonic() + 30
    while not (tmp_path / "on").exists():
        assert time.monotonic() < give_up
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "interrupted after" in out
    assert "running" not in states()


def test_help_is_enough_to_learn_from() -> None:
    text = fine("exec", "--help")
    for word in ("{checkpoint}", "metrics.json", "--ignore-errors", "EVOLVENT_JOB_FILE", "sh -c"):
        assert word in text

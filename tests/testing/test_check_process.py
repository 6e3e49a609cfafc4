"""The check trains where the rounds of a study do: in a worker process, in the script's place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import evolvent as ev
from evolvent.errors import ConfigError

SPACE = {"step": ev.Uniform(0.1, 0.9)}
SCRIPT = """
import argparse, json, os, pickle
import evolvent as ev

class State:
    def __init__(self, height):
        self.height = height

def climb(job, scale=1):
    state = State([0.0, 0.0])
    if job.checkpoint:
        state = pickle.loads((job.checkpoint / "state").read_bytes())
    step = parser.parse_args().times * scale * job.hyperparameters["step"]
    state.height = [h + step for h in state.height]
    (job.directory / "state").write_bytes(pickle.dumps(state))
    print("times", parser.parse_args().times, "scale", scale)
    return {"height": state.height[0]}

parser = argparse.ArgumentParser()
parser.add_argument("--times", type=int, default=1)
if __name__ == "__main__":
    parser.parse_args()
    print(ev.check(climb, {"step": ev.Uniform(0.1, 0.9)}, metric="height", params={"scale": 3}))
"""
STUDY = """
[study]
name = "hill"
metric = "height"
mode = "max"
population = 2
rounds = 2
trainable = "climber.py:climb"
[space]
step = {type = "Uniform", low = 0.1, high = 0.9}
"""


def climb(job: ev.Job) -> dict[str, float]:
    assert os.environ["EVOLVENT_CHECK"] == "1"
    height = [0.0, 0.0]
    if job.checkpoint is not None:
        height = json.loads((job.checkpoint / "height.json").read_text())
    height = [h + job.hyperparameters["step"] for h in height]
    (job.directory / "height.json").write_text(json.dumps(height))
    return {"height": height[0], "pid": os.getpid(), "threads": int(os.environ["OMP_NUM_THREADS"])}


def fall(job: ev.Job) -> dict[str, float]:
    if job.round == 1:
        os._exit(7)
    return climb(job)


def test_it_trains_in_a_process_with_the_threads_of_workers(monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    told = []
    report = ev.check(climb, SPACE, metric="height", on_proof=told.append)
    assert report.ok  # also with a number of threads among the metrics
    assert tuple(told) == report.proofs
    assert report.subject == "climb"
    assert "EVOLVENT_CHECK" not in os.environ


def test_without_workers_it_trains_in_this_process() -> None:
    pids = []

    def mine(job: ev.Job) -> dict[str, float]:
        pids.append(os.getpid())
        (job.directory / "x").write_text(str(job.hyperparameters["step"]))
        return {"height": job.hyperparameters["step"]}

    ev.check(mine, SPACE, workers=0, only=["step"])
    assert set(pids) == {os.getpid()}
    with pytest.raises(ConfigError, match="workers: got 2, wanted 1, or 0 for this process"):
        ev.check(mine, SPACE, workers=2)


def test_a_process_that_dies_is_a_failure_names_the_proof_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    report = ev.check(fall, SPACE)
    assert [(p.name, p.seen) for p in report.failed] == [
        ("contract", "the process that trains: ended with exit code 7")
    ]
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_with_an_argument_is_raised_here() -> None:
    with pytest.raises(ConfigError, match="no proof 'stp': there are contract, repeats, goes on"):
        ev.check(climb, SPACE, only=["stp"])


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["climber.py", "--times", "2"], "times 2 scale 3"),
        (
            ["-m", "evolvent", "check", "-f", "s.toml", "--param", "scale=5", "--", "--times", "4"],
            "times 4 scale 5",
        ),
    ],
)
def test_where_a_script_can_be_run_it_can_be_checked(
    tmp_path: Path, command: list[str], said: str
) -> None:
    (tmp_path / "climber.py").write_text(SCRIPT)
    (tmp_path / "s.toml").write_text(STUDY)
    ended = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert set(ended.stderr.splitlines()) == {said}
    assert ended.stdout.endswith("6 proofs, none failed\n")

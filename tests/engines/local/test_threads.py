"""Numeric libraries have the same threads in this process as in a worker, and as the user says."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from evolvent.engines.local.options import LocalOptions
from evolvent.engines.local.threads import threads_of_workers

pytest.importorskip("torch")
pytest.importorskip("threadpoolctl")

TOP = """
import os, sys
import numpy, threadpoolctl, torch
import evolvent as ev

def numbers():
    found = {pool["internal_api"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
    return {"torch": torch.get_num_threads(), "blas": found.get("openblas", found.get("mkl"))}

def train(job):
    return {"Q": job.hyperparameters["lr"], "omp": os.environ.get("OMP_NUM_THREADS"), **numbers()}

def run(**options):
    before, found = numbers(), []
    for n in (0, 1):
        study = ev.create_study(f"w{n}", metric="Q", mode="max", population=2, rounds=1,
                                synchronous=True, space={"lr": ev.Uniform(0.1, 1)},
                                store="sqlite:///s.db", algorithm=ev.RandomSearch())
        study.run(train, workers=n, progress=False, **options)
        found += [{name: x for name, x in job.metrics.items() if name != "Q"}
                  for job in study.jobs()]
    assert numbers() == before, "what comes after the run"
    assert all(one == found[0] for one in found), found
    print(*(f"{name}={found[0][name]}" for name in ("omp", "blas", "torch")))
"""


def threads_in(tmp_path: Path, text: str, **environment: str) -> str:
    (tmp_path / "train.py").write_text(TOP + textwrap.dedent(text))
    inherited = {n: x for n, x in os.environ.items() if not n.endswith("_THREADS")}
    done = subprocess.run(
        [sys.executable, "train.py"],
        check=False,
        cwd=tmp_path,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip().splitlines()[-1]


GUARDED = 'if __name__ == "__main__":\n    '


@pytest.mark.slow
def test_what_is_left_open_is_the_same_everywhere(tmp_path: Path) -> None:
    assert threads_in(tmp_path, f"{GUARDED}run()") == "omp=1 blas=1 torch=1"


@pytest.mark.slow
@pytest.mark.parametrize("text", ["torch.set_num_threads(3)\nGUARDrun()",
                                  "GUARDtorch.set_num_threads(3); run(threads=2)",
                                  "torch.set_num_threads(3)\nrun()"])  # fmt: skip
def test_what_the_script_tells_pytorch_holds(tmp_path: Path, text: str) -> None:
    said = threads_in(tmp_path, text.replace("GUARD", GUARDED))
    assert said.endswith("torch=3")


@pytest.mark.slow
def test_a_number_that_is_pytorchs_own_choice_too_holds_if_it_was_told(tmp_path: Path) -> None:
    text = f"torch.set_num_threads(torch.get_num_threads())\n{GUARDED}run(threads=7)"
    assert "torch=7" not in threads_in(tmp_path, text)


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one thread is all there is")
def test_limits_of_threadpoolctl_hold(tmp_path: Path) -> None:
    text = f"{GUARDED}threadpoolctl.threadpool_limits(1); run(threads=4)"
    assert threads_in(tmp_path, text) == "omp=4 blas=1 torch=1"


def test_the_environment_holds(tmp_path: Path) -> None:
    said = threads_in(tmp_path, f"{GUARDED}run()", OPENBLAS_NUM_THREADS="2", MKL_NUM_THREADS="2")
    assert said == "omp=1 blas=2 torch=2"


def test_the_environment_is_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "1,2")
    variables = LocalOptions(workers=0, threads=5).thread_variables()
    with threads_of_workers(variables):
        assert os.environ["OMP_NUM_THREADS"] == "5"
    assert "OMP_NUM_THREADS" not in os.environ
    assert os.environ["MKL_NUM_THREADS"] == "1,2"

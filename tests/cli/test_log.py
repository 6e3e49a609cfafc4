"""`evolvent log`: a study for TensorBoard, MLflow or Weights & Biases, now or while it trains."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evolvent.engines.loggers import follower
from tests import trainables
from tests.cli.commands import evolvent, fine, new_study, trained_study
from tests.needs import needs

ROOT = Path(__file__).resolve().parents[2]
RUN = "events.out.tfevents.evolvent"


def test_the_newest_study_goes_into_runs_for_tensorboard() -> None:
    needs("tensorboard")
    trained_study("first")
    trained_study("second")
    assert fine("log", "--to", "tensorboard") == (
        "TensorBoard in runs: 6 jobs of study second, 1 copy\n"
    )
    assert sorted(p.parent.name for p in Path("runs/second").glob(f"*/{RUN}")) == ["m0", "m1", "m2"]


def test_saying_it_again_after_more_rounds_writes_the_rest() -> None:
    needs("tensorboard")
    study = trained_study()
    fine("log", "--to", "tensorboard", "-o", "tb", "--steps-per-round", "7")
    before = Path("tb/hill/m0", RUN).stat().st_size
    study.extend(3)
    study.run(trainables.climb, workers=0, progress=False)
    assert "9 jobs" in fine("log", "--to", "tensorboard", "-o", "tb", "--steps-per-round", "7")
    assert Path("tb/hill/m0", RUN).stat().st_size > before


def test_by_lineage_every_copy_has_a_run() -> None:
    needs("tensorboard")
    study = trained_study()
    fine("log", "hill", "--to", "tensorboard", "--by", "lineage")
    began = {str(job.id) for job in study.jobs() if job.round == 0 or job.donor is not None}
    assert {p.parent.name for p in Path("runs/hill").glob(f"*/{RUN}")} == began


@pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"  # MLflow's own
)
@pytest.mark.slow
def test_mlflow_gets_a_database_in_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("alembic")
    needs("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    trained_study()
    assert "6 jobs of study hill" in fine("log", "--to", "mlflow", "--project", "hills")
    from mlflow.tracking import MlflowClient  # noqa: PLC0415

    found = MlflowClient(f"sqlite:///{Path.cwd()}/mlflow.db").get_experiment_by_name("hills")
    assert found is not None


def test_wandb_gets_offline_runs_in_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("wandb")
    monkeypatch.setenv("NETRC", "/dev/null")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    trained_study()
    assert "6 jobs of study hill" in fine("log", "--to", "wandb", "--offline")
    assert len(list(Path("wandb").glob("offline-run-*"))) == 3
    online = evolvent("log", "--to", "wandb", "--online")
    assert online.exit_code == 1
    assert "no API key" in online.stderr


def test_following_ends_with_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("tensorboard")
    monkeypatch.setattr(follower, "_LOOK_EVERY_S", 0.01)
    new_study()
    training = subprocess.Popen(
        [sys.executable, "-m", "evolvent", "resume", "hill", "--workers", "0"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert "6 jobs of study hill" in fine("log", "--to", "tensorboard", "--follow")
    finally:
        training.wait()


def test_ctrl_c_ends_following_with_everything_written() -> None:
    needs("tensorboard")
    study = new_study()
    following = subprocess.Popen(
        [sys.executable, "-m", "evolvent", "log", "--to", "tensorboard", "--follow"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert following.stderr is not None
    assert following.stderr.readline() == (
        "TensorBoard in runs: following study hill; Ctrl-C ends\n"
    )
    while job := study.next_job():
        with job:
            job.metrics = trainables.climb(job)
        if job.round == 1:
            break
    while len(list(Path("runs").glob(f"hill/m*/{RUN}"))) < 3:  # so two jobs are written at least
        time.sleep(0.05)
    following.terminate()
    out, _ = following.communicate(timeout=30)
    assert following.returncode == 130
    assert "jobs of study hill" in out


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["--to", "comet"], 2, "'tensorboard', 'mlflow', 'wandb'"),
        ([], 2, "--to"),
        (["--to", "tensorboard", "--online"], 2, "--online and --offline are for --to wandb"),
        (["--to", "tensorboard", "--by", "family"], 2, "'member', 'lineage'"),
        (["--to", "tensorboard", "--steps-per-round", "0"], 2, "--steps-per-round"),
        (["--to", "tensorboard", "-o", "s3://bucket"], 1, "directory: got 's3://bucket'"),
        (["--to", "tensorboard", "-o", "file"], 1, "which cannot be written"),
        (["no such", "--to", "tensorboard"], 3, "hill"),
    ],
)
def test_bad_arguments_are_named(arguments: list[str], code: int, named: str) -> None:
    needs("tensorboard")
    new_study()
    Path("file").touch()
    result = evolvent("log", *arguments)
    assert result.exit_code == code, result.output
    assert named in " ".join(result.output.replace("│", " ").split())
    assert "Value error" not in result.output
    assert not Path("runs").exists()


def test_what_another_library_raises_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    trained_study()
    result = evolvent("log", "--to", "mlflow", "-o", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "error: MLflow at http://127.0.0.1:1: MlflowException: " in result.stderr


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    new_study()
    code = (
        "import sys; sys.modules['tensorboard'] = None; sys.argv[1:] = ['log', '--to', "
        "'tensorboard']; from evolvent.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "error: ev.tensorboard needs TensorBoard: pip install 'evolvent[tensorboard]'\n"
    )

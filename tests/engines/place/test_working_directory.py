"""Where training code works is its own affair, and nobody's when its round is over."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import evolvent as ev
from evolvent.core.records import JobId
from evolvent.engines.place.working_directory import WorkingDirectory
from evolvent.engines.runner import Runner
from tests.engines.test_runner import make_job
from tests.engines.trainables import Climb


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the script."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    return home


def moves_in(job: ev.Job) -> dict[str, float]:
    with open("progress.csv", "a") as file:
        file.write(f"{job.id}\n")
    os.chdir(job.directory)
    at = float((job.checkpoint / "at").read_text()) if job.checkpoint else 0.0
    Path("at").write_text(str(at + 1))
    return {"at": at + 1}


def leaves_and_fails(job: ev.Job) -> dict[str, float]:
    os.chdir("/")
    raise RuntimeError("far away")


class MovesEverywhere(Climb):
    """Stays in another directory after every step."""

    def setup(self, hyperparameters, context) -> None:
        os.chdir("/")
        super().setup(hyperparameters, context)

    def close(self) -> None:
        os.chdir("/")


@pytest.mark.parametrize("workers", [0, 2])
def test_work_inside_the_directory_of_a_job_leaves_the_sealed_ones_alone(
    workers: int, home: Path
) -> None:
    study = ev.create_study(
        "s", metric="at", mode="max", population=1, rounds=4, space={"lr": 1.0},
        store=f"sqlite:///{home}/s.db",
    )  # fmt: skip
    study.run(moves_in, workers=workers)
    assert study.failures() == []
    assert [job.score for job in study.jobs("done")] == [1.0, 2.0, 3.0, 4.0]
    assert (home / "progress.csv").read_text().split() == ["m0r0", "m0r1", "m0r2", "m0r3"]
    assert Path.cwd() == home


@pytest.mark.parametrize("trainable", [leaves_and_fails, MovesEverywhere])
def test_every_form_ends_where_it_began(
    trainable: Callable[[ev.Job], dict[str, float]], home: Path, tmp_path: Path
) -> None:
    runner = Runner(trainable)
    with suppress(RuntimeError):
        runner.run(make_job(tmp_path / "a", JobId(0, 0)), parent=None)
    assert Path.cwd() == home
    runner.close()
    assert Path.cwd() == home


@pytest.mark.parametrize("error", [None, RuntimeError("by hand")])
def test_an_asked_job_ends_where_it_was_claimed(error: Exception | None, home: Path) -> None:
    study = ev.create_study(
        "s", metric="at", mode="max", population=1, rounds=2, space={"lr": 1.0},
        store=f"sqlite:///{home}/s.db",
    )  # fmt: skip
    job = study.next_job()
    assert job is not None
    with suppress(RuntimeError), job:
        job.metrics = moves_in(job)
        if error is not None:
            raise error
    assert Path.cwd() == home


def test_a_directory_that_was_renamed_is_the_same_one(home: Path, tmp_path: Path) -> None:
    with WorkingDirectory():
        os.chdir("/")
        home.rename(tmp_path / "moved")
        home.mkdir()
    assert Path.cwd() == tmp_path / "moved"


def test_a_directory_that_was_removed_is_not_replaced_by_another(home: Path) -> None:
    with WorkingDirectory():
        os.chdir("/")
        home.rmdir()
        home.mkdir()
    with pytest.raises(FileNotFoundError):
        os.getcwd()


def test_code_that_closes_all_files_ends_where_it_began_too(home: Path) -> None:
    place = WorkingDirectory()
    os.close(place._descriptor)
    other = os.open("/", os.O_RDONLY)  # gets its number
    os.chdir("/")
    place.restore()
    assert Path.cwd() == home
    del place
    os.close(other)  # is still open


def test_where_there_is_no_way_back_it_is_said(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = WorkingDirectory()
    os.close(place._descriptor)
    os.chdir("/")
    home.rmdir()
    place.restore()
    assert "the working directory cannot be put back" in caplog.text


def test_each_round_ends_where_it_began_itself(home: Path, tmp_path: Path) -> None:
    place = WorkingDirectory()
    os.close(place._descriptor)  # by training code, of a round before
    for folder in (home, tmp_path, home):
        os.chdir(folder)
        with place:
            os.chdir("/")
        assert Path.cwd() == folder

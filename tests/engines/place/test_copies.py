"""Training code that goes on in the files of its checkpoint, which it copies first."""

from __future__ import annotations

import errno
import gc
import os
import shutil
from pathlib import Path

import pytest

import evolvent as ev
from evolvent.core.records import JobId
from evolvent.engines.command.trainable import Command
from evolvent.engines.place.copies import WritableCopies
from tests.engines.test_runner import make_job

COPYSTAT, COPYMODE = shutil.copystat, shutil.copymode


@pytest.fixture(autouse=True)
def _ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is done for root, who may write to anything."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A directory with the modes of a sealed checkpoint."""
    sealed = tmp_path / "sealed"
    (sealed / "run" / "deep").mkdir(parents=True)
    (sealed / "run" / "events.log").write_text("m0r0\n")
    (sealed / "run" / "deep" / "go.sh").write_text("exit")
    (sealed / "latest").symlink_to("run")
    (sealed / "run" / "deep" / "go.sh").chmod(0o555)
    (sealed / "run" / "events.log").chmod(0o444)
    for folder in (sealed / "run" / "deep", sealed / "run", sealed):
        folder.chmod(0o555)
    return sealed


def read_only(directory: Path) -> list[str]:
    """Return what the owner may not write to."""
    found = [directory, *directory.rglob("*")]
    return [path.name for path in found if not path.stat().st_mode & 0o200]


def test_a_copy_of_the_checkpoint_may_be_written_to(sealed: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path / "next", JobId(0, 1), checkpoint=sealed)
    assert job.copy_checkpoint() == job.directory
    assert read_only(job.directory) == []
    with (job.directory / "run" / "events.log").open("a") as file:
        file.write("m0r1\n")
    assert (job.directory / "latest" / "events.log").read_text() == "m0r0\nm0r1\n"
    assert os.readlink(job.directory / "latest") == "run"
    assert os.access(job.directory / "run" / "deep" / "go.sh", os.X_OK)
    assert (sealed / "run" / "events.log").read_text() == "m0r0\n"
    assert len(read_only(sealed)) == 6


def test_in_the_first_round_there_is_nothing_to_copy(tmp_path: Path) -> None:
    job = make_job(tmp_path / "first", JobId(0, 0))
    assert job.copy_checkpoint() is None
    assert list(job.directory.iterdir()) == []


def test_files_are_copied_where_the_kernel_cannot(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> int:
        raise OSError(errno.EXDEV, "across file systems")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    job = make_job(tmp_path / "next", JobId(0, 1), checkpoint=sealed)
    job.copy_checkpoint()
    assert (job.directory / "run" / "events.log").read_text() == "m0r0\n"


@pytest.mark.parametrize("relative", [False, True])
def test_what_shutil_copies_may_be_written_to(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    directory = tmp_path / "next"
    directory.mkdir()
    monkeypatch.chdir(directory)
    target = Path() if relative else directory
    with WritableCopies(directory):
        shutil.copytree(sealed, target, dirs_exist_ok=True)
        shutil.copy2(sealed / "run" / "events.log", target / "two")
        shutil.copy(sealed / "run" / "events.log", target / "plain")
        shutil.copystat(sealed, target)
        shutil.copytree(sealed, tmp_path / "elsewhere", symlinks=True)
    assert read_only(directory) == []
    assert len(read_only(tmp_path / "elsewhere")) == 6
    assert len(read_only(sealed)) == 6


def test_a_link_does_not_lead_to_the_modes_of_others(sealed: Path, tmp_path: Path) -> None:
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "out").symlink_to(sealed / "run" / "events.log")
    with WritableCopies(tmp_path / "next"):
        shutil.copymode(sealed / "run" / "events.log", tmp_path / "next" / "out")
    assert len(read_only(sealed)) == 6


def test_shutil_is_left_alone_when_no_round_runs(tmp_path: Path) -> None:
    first, second = WritableCopies(tmp_path), WritableCopies(tmp_path)
    first.close()
    first.close()
    assert shutil.copystat is not COPYSTAT
    del second  # with a job that was dropped
    gc.collect()
    assert (shutil.copystat, shutil.copymode) == (COPYSTAT, COPYMODE)


def test_nothing_is_done_for_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with WritableCopies(tmp_path):
        assert shutil.copystat is COPYSTAT


def trains_in_place(job: ev.Job) -> dict[str, float]:
    if job.checkpoint:
        shutil.copytree(job.checkpoint, job.directory, dirs_exist_ok=True)
        assert read_only(job.directory) == []
    log = job.directory / "run" / "events.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("a") as file:
        file.write(f"{job.id}\n")
    return {"Q": len(log.read_text().split())}


def denied(job: ev.Job, relative: bool = False) -> dict[str, float]:
    if job.checkpoint:
        place = Path("run/x") if relative else job.directory / "x"
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))
    (job.directory / "x").write_text("x")
    return {"Q": 1.0}


def denied_anywhere(job: ev.Job) -> dict[str, float]:
    (job.directory / "x").write_text("x")
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/elsewhere/x")


def new_study(population: int = 1) -> ev.Study:
    return ev.create_study(
        "s", metric="Q", mode="max", population=population, rounds=3, space={"lr": 1.0},
        store="memory://",
    )  # fmt: skip


def test_training_in_place_goes_on_round_after_round() -> None:
    study = new_study()
    study.run(trains_in_place, workers=0)
    assert [job.score for job in study.jobs("done")] == [1.0, 2.0, 3.0]
    assert shutil.copystat is COPYSTAT


def test_training_in_place_goes_on_in_a_loop_of_ones_own() -> None:
    study = new_study()
    while job := study.next_job(wait=True):
        with job:
            job.metrics = trains_in_place(job)
    assert [job.score for job in study.jobs("done")] == [1.0, 2.0, 3.0]
    assert shutil.copystat is COPYSTAT


@pytest.mark.parametrize("relative", [False, True])
def test_who_meets_a_read_only_copy_is_told_the_cure(relative: bool) -> None:
    study = new_study()
    with pytest.raises(ev.EvolventError):
        study.run(lambda job: denied(job, relative), workers=0)
    failure = study.failures()[-1].failure
    assert "job.copy_checkpoint()" in failure.message
    assert "chmod -R u+w" in failure.message
    assert failure.traceback is not None
    assert "job.copy_checkpoint()" in failure.traceback


def test_a_command_that_meets_a_read_only_copy_is_told_the_cure_where_it_ends() -> None:
    study = new_study()
    script = (
        '[ -z "$EVOLVENT_CHECKPOINT" ] || '
        '{{ echo "sh: cannot create $EVOLVENT_DIRECTORY/log: Permission denied" >&2; exit 2; }}; '
        'echo "{{\\"Q\\": 1}}"'
    )
    command = Command(["sh", "-c", script], study.record)
    with pytest.raises(ev.TrainableError, match=r"chmod -R u\+w"):
        study.run(command, workers=0)
    assert study.failures()[-1].failure.message.count("chmod -R u+w") == 1


def test_who_is_denied_something_else_is_told_nothing_of_copies() -> None:
    study = new_study()
    with pytest.raises(ev.EvolventError):
        study.run(denied_anywhere, workers=0)
    assert all("copy_checkpoint" not in f.failure.message for f in study.failures())

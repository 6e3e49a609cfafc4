"""What training saves in a check is a checkpoint as in a study: sealed, and refused alike."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import evolvent as ev
from evolvent.testing.check import check_trainable

SPACE = {"lr": ev.LogUniform(1e-3, 0.1)}
DATA = "what others need"


def walk(job: ev.Job) -> dict[str, float]:
    place = np.zeros(3) if job.checkpoint is None else np.load(job.checkpoint / "place.npy")
    place = place + job.hyperparameters["lr"] * np.random.default_rng(job.seed).normal(size=3)
    np.save(job.directory / "place.npy", place)
    return {"far": float(place @ place)}


def saves_once(job: ev.Job) -> dict[str, float]:
    metrics = walk(job)
    if job.checkpoint is not None:
        (job.directory / "place.npy").unlink()
    return metrics


def leaves_a_pipe(job: ev.Job) -> dict[str, float]:
    os.mkfifo(job.directory / "pipe")
    return walk(job)


def removes_what_it_loads(job: ev.Job) -> dict[str, float]:
    metrics = walk(job)
    if job.checkpoint is not None:
        job.checkpoint.chmod(0o700)
        shutil.rmtree(job.checkpoint)
    return metrics


@pytest.mark.parametrize(
    ("trainable", "proof", "seen"),
    [
        (saves_once, "goes on", "nothing was saved, although there was something to start from"),
        (leaves_a_pipe, "contract", "pipe is a special file"),
        (
            removes_what_it_loads,
            "checkpoints",
            "training changed the checkpoint it started from: place.npy",
        ),
    ],
)
def test_what_a_study_refuses_is_one_fault_and_ends_the_check(trainable, proof, seen) -> None:
    report = check_trainable(trainable, SPACE)
    assert [failed.name for failed in report.failed] == [proof]
    assert report.proofs[-1].name == proof
    assert seen in report[proof].seen


class Elsewhere:
    """A place of its own for the weights, which every member writes to and reads from."""

    def __init__(self, home: Path, *, vanishes: bool) -> None:
        self.path, self.vanishes = home / "place.npy", vanishes

    def __call__(self, job: ev.Job) -> dict[str, float]:
        place = np.load(self.path) if job.checkpoint is not None else np.zeros(3)
        place = place + job.hyperparameters["lr"] * np.random.default_rng(job.seed).normal(size=3)
        np.save(self.path, place)
        if self.vanishes and job.checkpoint is None and job.round == 1:
            self.path.unlink()
        (job.directory / "note").write_text("saved elsewhere")
        return {"far": float(place @ place)}


@pytest.mark.parametrize(("vanishes", "seen"), [(False, "not the same: far"), (True, "No such")])
def test_a_function_that_goes_on_from_files_elsewhere_is_found(tmp_path, vanishes, seen) -> None:
    report = check_trainable(Elsewhere(tmp_path, vanishes=vanishes), SPACE)
    assert "goes on" in [failed.name for failed in report.failed]
    assert "the same round once more, after others" in report["goes on"].seen
    assert seen in report["goes on"].seen
    assert report["goes on"].advice.startswith("save all that training goes on from in job.dir")


def test_what_a_link_leads_to_is_left_as_it_is(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_text(DATA)
    mode = data.stat().st_mode

    def links(job: ev.Job) -> dict[str, float]:
        (job.directory / "data").symlink_to(data)
        return walk(job)

    report = check_trainable(links, SPACE)
    assert "may lead out of the checkpoint" in report["contract"].seen
    assert (data.read_text(), data.stat().st_mode) == (DATA, mode)


def test_links_and_folders_inside_are_part_of_a_checkpoint() -> None:
    def links(job: ev.Job) -> dict[str, float]:
        if job.checkpoint is not None:
            assert (job.checkpoint / "last").readlink() == Path("all/place.npy")
            shutil.copytree(job.checkpoint, job.directory, dirs_exist_ok=True, symlinks=True)
        metrics = walk(job)
        (job.directory / "all").mkdir(exist_ok=True)
        shutil.copy(job.directory / "place.npy", job.directory / "all")
        if job.checkpoint is None:
            (job.directory / "last").symlink_to("all/place.npy")
        return metrics

    assert check_trainable(links, SPACE).ok


def test_who_may_not_write_into_what_is_sealed_is_told_the_cure() -> None:
    def appends(job: ev.Job) -> dict[str, float]:
        if job.checkpoint is not None:  # raised by hand: root may write to anything
            raise PermissionError(errno.EACCES, "Permission denied", str(job.directory / "log"))
        return walk(job)

    report = check_trainable(appends, SPACE)
    assert "Begin with job.copy_checkpoint()" in report["goes on"].seen

"""Exports: what comes along, what cannot, and that nothing half-written is left."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from evolvent.errors import CheckpointDamaged, CheckpointMissing
from tests.store.archive.studies import half_trained, listing, new_study


@pytest.fixture
def study(tmp_path: Path) -> ev.Study:
    return half_trained(f"sqlite:///{tmp_path / 'here.db'}")


def packed(path: Path) -> dict[str, list[str]]:
    """Return the jobs of the checkpoints in an archive, by address."""
    with zipfile.ZipFile(path) as zipped:
        manifest = json.loads(zipped.read("manifest.json"))
    return {address: its["jobs"] for address, its in manifest["checkpoints"].items()}


def test_best_comes_along_unless_told_otherwise(tmp_path: Path, study: ev.Study) -> None:
    best = study.result().best.job
    assert packed(study.export(tmp_path / "a.zip")) == {best.checkpoint: [best.id]}


def test_none_pinned_and_kept(tmp_path: Path, study: ev.Study) -> None:
    newest = study.members()[3].newest
    assert newest is not None
    study.pin(newest.id)
    path = tmp_path / "a.zip"
    assert packed(study.export(path, checkpoints="none")) == {}
    assert packed(study.export(path, checkpoints="pinned")) == {newest.checkpoint: [newest.id]}
    kept = packed(study.export(path, checkpoints="kept"))
    on_disk = study.store.checkpoints(study.id)
    done = {job.checkpoint for job in study.jobs("done")}
    assert kept.keys() == {address for address in done if address in on_disk}


@pytest.mark.parametrize("several", [True, False], ids=["list", "text"])
def test_jobs_can_be_named(tmp_path: Path, study: ev.Study, several: bool) -> None:
    members = study.members()
    jobs = [view.newest for view in members[:2] if view.newest]
    ids = [str(job.id) for job in jobs]
    path = study.export(tmp_path / "a.zip", checkpoints=ids if several else ", ".join(ids))
    assert packed(path) == {job.checkpoint: [job.id] for job in jobs}


@pytest.mark.parametrize("choice", ["all", "m3r1,all", "", ["m3"], 7, [None]])
def test_choice_that_is_none_is_refused(tmp_path: Path, study: ev.Study, choice: Any) -> None:
    with pytest.raises(ev.ConfigError, match=r"checkpoints: got .*'kept'"):
        study.export(tmp_path / "a.zip", checkpoints=choice)
    assert not (tmp_path / "a.zip").exists()


def test_missing_checkpoint_is_told_with_job_and_address(tmp_path: Path, study: ev.Study) -> None:
    collected = study.job("m0r0")
    with pytest.raises(CheckpointMissing, match=f"m0r0 .*{collected.checkpoint}"):
        study.export(tmp_path / "a.zip", checkpoints="m0r0")
    with pytest.raises(ev.UnknownJob, match="m0r5"):
        study.export(tmp_path / "a.zip", checkpoints="m0r5")
    assert not any(tmp_path.glob("*.zip*"))


def test_damaged_checkpoint_is_told_and_leaves_the_old_archive(
    tmp_path: Path, study: ev.Study
) -> None:
    path = study.export(tmp_path / "a.zip")
    before = listing(tmp_path)
    best = study.result().best
    file = best.checkpoint / "deep" / "weights"
    content = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(b"other")
    with pytest.raises(CheckpointDamaged, match=rf"{best.job.id}.*'deep/weights' has 5 bytes"):
        study.export(path)
    file.write_bytes(content)
    assert listing(tmp_path) == before


def test_study_without_a_finished_job_can_be_exported(tmp_path: Path) -> None:
    path = new_study("memory://").export(tmp_path / "a.zip", checkpoints="kept")
    moved = ev.import_study(path, store="memory://")
    assert len(moved.jobs("queued")) == 4


def test_only_an_archive_is_replaced(tmp_path: Path, study: ev.Study) -> None:
    with pytest.raises(ev.ArchiveError, match=r"here\.db is there and is no archive"):
        study.export(tmp_path / "here.db")
    path = study.export(tmp_path / "a.zip", checkpoints="none")
    study.export(path)
    assert len(packed(path)) == 1


def test_a_pipe_or_a_device_is_neither_read_nor_replaced(tmp_path: Path, study: ev.Study) -> None:
    os.mkfifo(tmp_path / "pipe.zip")  # nobody writes to it: who would read it waits for ever
    with pytest.raises(ev.ArchiveError, match="is no archive of ours"):
        study.export(tmp_path / "pipe.zip")
    with pytest.raises(ev.ArchiveError, match=r"pipe\.zip is a pipe, a socket or a device"):
        ev.import_study(tmp_path / "pipe.zip", store="memory://")


def test_of_a_link_the_archive_is_replaced(tmp_path: Path, study: ev.Study) -> None:
    (tmp_path / "newest.zip").symlink_to("a.zip")
    for _ in range(2):  # first the link leads nowhere
        study.export(tmp_path / "newest.zip", checkpoints="none")
        assert (tmp_path / "newest.zip").is_symlink()
        assert packed(tmp_path / "a.zip") == {}


@pytest.mark.parametrize("name", [".", "no/such/place.zip"])
def test_place_that_cannot_be_written_is_told(tmp_path: Path, study: ev.Study, name: str) -> None:
    with pytest.raises(ev.ArchiveError, match=str(tmp_path / name)):
        study.export(tmp_path / name)


@pytest.mark.parametrize(
    ("trouble", "wanted"),
    [
        (OSError(28, "No space left on device"), ev.ArchiveError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["disk is full", "interrupted"],
)
def test_export_that_comes_to_nothing_leaves_nothing(
    tmp_path: Path,
    study: ev.Study,
    monkeypatch: pytest.MonkeyPatch,
    trouble: BaseException,
    wanted: type[BaseException],
) -> None:
    study.export(tmp_path / "a.zip", checkpoints="none")
    before = listing(tmp_path)

    def fsync(descriptor: int) -> None:
        raise trouble

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(wanted):
        study.export(tmp_path / "a.zip", checkpoints="kept")
    assert listing(tmp_path) == before

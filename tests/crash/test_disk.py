"""Full and read-only disks, unusable paths: a clear error, the log intact, and on it goes."""

from __future__ import annotations

from pathlib import Path

import pytest

import evolvent as ev
from evolvent.study import Study
from tests.crash.conftest import fill, remount
from tests.crash.processes import create, log_of, url_in

QUICK = "tests.crash.programs:Quick"


def half_done(home: Path, **changes: object) -> Study:
    """Return a study of 4 members with 2 of its 4 rounds done."""
    study = create(home, population=4, rounds=2, **changes)
    study.run(QUICK, workers=0, progress=False)
    study.extend(4)
    return study


def undisturbed(home: Path) -> list[object]:
    home.mkdir()
    study = half_done(home)
    study.run(QUICK, workers=0, progress=False)
    return log_of(study)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_full_disk_stops_the_run_and_harms_nothing(workers: int, small_disk: Path, tmp_path: Path):
    study = half_done(small_disk)
    before = log_of(study)
    ballast = fill(small_disk)
    with pytest.raises(ev.EvolventError, match=r"(?i)disk.*full|no space left"):
        study.run(QUICK, workers=workers, progress=False)
    assert log_of(study) == before
    ballast.unlink()
    study.run(QUICK, workers=workers, progress=False)
    assert log_of(study) == undisturbed(tmp_path / "undisturbed")


def test_disk_filled_by_checkpoints_names_the_cause(small_disk: Path):
    study = create(small_disk, population=6, rounds=2)
    with pytest.raises(ev.EvolventError, match=r"(?i)disk.*full|no space left"):
        study.run("tests.crash.programs:Megabyte", workers=0, progress=False)
    for job in study.jobs("done"):
        study.checkpoint(job.id)


def test_read_only_disk_is_named_and_harms_nothing(small_disk: Path, tmp_path: Path):
    study = half_done(small_disk)
    before = log_of(study)
    study.store.close()
    remount(small_disk, writable=False)
    with pytest.raises(ev.StoreError, match=str(small_disk)):
        ev.load_study(store=url_in(small_disk)).run(QUICK, workers=0, progress=False)
    remount(small_disk, writable=True)
    study = ev.load_study(store=url_in(small_disk))
    assert log_of(study) == before
    study.run(QUICK, workers=0, progress=False)
    assert log_of(study) == undisturbed(tmp_path / "undisturbed")


def test_unusable_checkpoint_directory_is_named(tmp_path: Path):
    (tmp_path / "study.checkpoints").write_text("in the way")
    study = create(tmp_path)
    with pytest.raises(ev.CheckpointError, match=r"study\.checkpoints"):
        study.run(QUICK, workers=0, progress=False)
    (tmp_path / "study.checkpoints").unlink()
    study.run(QUICK, workers=0, progress=False)
    assert study.status().state == "finished"


@pytest.mark.parametrize("case", ["missing directory", "below a file", "a directory"])
def test_unusable_store_path_is_named_before_anything_is_written(case: str, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.db").mkdir()
    place = {
        "missing directory": tmp_path / "missing" / "study.db",
        "below a file": tmp_path / "file" / "study.db",
        "a directory": tmp_path / "folder.db",
    }[case]
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ev.StoreError, match=str(place)):
        create(tmp_path, store=f"sqlite:///{place}")
    assert sorted(tmp_path.rglob("*")) == before


def test_store_on_a_read_only_disk_is_named(small_disk: Path):
    remount(small_disk, writable=False)
    with pytest.raises(ev.StoreError, match=str(small_disk)):
        create(small_disk)


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.95])
def test_truncated_copy_of_a_store_is_refused(kept: float, tmp_path: Path):
    study = half_done(tmp_path)
    study.store.close()
    data = (tmp_path / "study.db").read_bytes()
    copied = tmp_path / "copied"
    copied.mkdir()
    (copied / "study.db").write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ev.StoreError, match=str(copied / "study.db")):
        ev.load_study(store=url_in(copied)).run(QUICK, workers=0, progress=False)

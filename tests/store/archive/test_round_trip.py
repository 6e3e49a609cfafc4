"""What goes into an archive comes out of it, and goes on as if nothing had happened."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import evolvent as ev
from evolvent.errors import CheckpointMissing
from evolvent.store.protocol import Store
from tests.store.archive.studies import (
    climb,
    exact_log_of,
    finish,
    half_trained,
    listing,
    log_of,
    new_study,
    train,
)


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'here.db'}"


@pytest.fixture
def memory() -> Iterator[Store]:
    store = ev.open_store("memory://")
    yield store
    store.close()


@pytest.mark.parametrize("jobs", [0, 1, 10, 12, 24])
@pytest.mark.parametrize("way", ["out", "back"])
def test_study_moved_half_way_ends_as_if_it_had_never_been_interrupted(
    tmp_path: Path, sqlite: str, memory: Store, jobs: int, way: str
) -> None:
    here, there = (sqlite, memory) if way == "out" else (memory, sqlite)
    whole = new_study(here, "whole")
    finish(whole)
    path = half_trained(here, jobs=jobs).export(tmp_path / "hill.zip", checkpoints="kept")
    moved = ev.import_study(path, store=there)
    finish(moved)
    assert log_of(moved) == log_of(whole)
    assert len(log_of(moved)) == 24


def test_moved_study_is_the_same_to_the_last_bit(
    tmp_path: Path, sqlite: str, memory: Store
) -> None:
    study = half_trained(sqlite, max_failures=0)
    job = study.next_job()
    with pytest.raises(ValueError, match="é"), job:
        raise ValueError("é\ud800")
    study.push({"step": 0.5})
    path = study.export(tmp_path / "hill.zip", checkpoints="kept")
    moved = ev.import_study(path, store=memory)
    assert exact_log_of(moved) == exact_log_of(study)
    assert moved.status().created_at == study.status().created_at
    back = ev.import_study(moved.export(path), store=sqlite, name="back")
    assert exact_log_of(back) == exact_log_of(study)
    first = back.jobs("done")[0]
    assert math.isnan(first.metrics["nan"])
    assert first.metrics["below"] == -math.inf
    assert back.points(first.id)[0].values == {"loss": math.inf}


def test_result_lineage_and_schedule_work_in_the_other_store(
    tmp_path: Path, sqlite: str, memory: Store
) -> None:
    study = new_study(sqlite)
    finish(study)
    moved = ev.import_study(study.export(tmp_path / "hill.zip"), store=memory)
    ours, theirs = study.result().best, moved.result().best
    assert (theirs.score, theirs.hyperparameters) == (ours.score, ours.hyperparameters)
    assert theirs.schedule == ours.schedule
    assert [job.id for job in theirs.lineage] == [job.id for job in ours.lineage]
    assert listing(theirs.checkpoint) == listing(ours.checkpoint)
    assert (theirs.checkpoint / "empty").is_dir()
    assert moved.checkpoint(theirs.job.id) == theirs.checkpoint


def test_one_archive_can_be_imported_twice(tmp_path: Path, sqlite: str) -> None:
    path = half_trained(sqlite).export(tmp_path / "hill.zip", checkpoints="kept")
    first, second = (ev.import_study(path, store=sqlite, name=name) for name in ("a", "b"))
    finish(first)
    first.delete()
    finish(second)
    assert [s.record.name for s in ev.list_studies(sqlite)] == ["hill", "b"]


def test_taken_name_is_told_with_the_way_out(tmp_path: Path, sqlite: str) -> None:
    path = half_trained(sqlite).export(tmp_path / "hill.zip")
    with pytest.raises(ev.StudyExists, match=r"'hill'.*--name"):
        ev.import_study(path, store=sqlite)


def test_study_without_its_checkpoints_can_be_read_and_says_what_it_lacks(
    tmp_path: Path, sqlite: str, memory: Store
) -> None:
    study = half_trained(sqlite)
    path = study.export(tmp_path / "hill.zip", checkpoints="none")
    moved = ev.import_study(path, store=memory)
    best = moved.result().best
    assert best.schedule == study.result().best.schedule
    with pytest.raises(CheckpointMissing, match=best.job.id):
        best.checkpoint  # noqa: B018 - the look-up is what is tested
    with pytest.raises(CheckpointMissing, match=f"{best.job.id} .*{best.job.checkpoint}"):
        moved.checkpoint(best.job.id)


def test_study_without_its_checkpoints_refuses_to_go_on_rather_than_start_from_others(
    tmp_path: Path, sqlite: str, memory: Store
) -> None:
    study = half_trained(sqlite)
    moved = ev.import_study(study.export(tmp_path / "hill.zip"), store=memory)
    before = exact_log_of(moved)
    assert moved.next_job() is None
    with pytest.raises(CheckpointMissing, match="--checkpoints kept"):
        moved.run(climb, workers=0, progress=False)
    with pytest.raises(CheckpointMissing, match="'hill' cannot go on"):
        moved.resume()
    assert exact_log_of(moved) == before
    assert moved.status().state == "stopped"


def test_finished_study_without_checkpoints_stays_finished(
    tmp_path: Path, sqlite: str, memory: Store
) -> None:
    study = new_study(sqlite)
    finish(study)
    moved = ev.import_study(study.export(tmp_path / "a.zip", checkpoints="none"), store=memory)
    finish(moved)
    assert moved.status().state == "finished"


def test_archive_shows_the_study_as_of_one_instant(tmp_path: Path, sqlite: str) -> None:
    study = half_trained(sqlite)
    running = study.next_job()
    path = study.export(tmp_path / "hill.zip", checkpoints="kept")
    moved = ev.import_study(path, store=sqlite, name="moved")
    assert [job.state for job in moved.jobs()].count("running") == 0
    with running:
        running.metrics = climb(running)
    finish(study)
    finish(moved)
    assert log_of(moved) == log_of(study)


def test_export_while_the_study_trains_is_whole_every_time(tmp_path: Path, sqlite: str) -> None:
    study = new_study(sqlite, rounds=30, synchronous=False)
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(train, study, 120)
        archives = []
        while not training.done() or not archives:
            path = tmp_path / f"{len(archives)}.zip"
            archives.append(study.export(path, checkpoints="kept"))
        training.result()
    for n, path in enumerate(archives[:: max(1, len(archives) // 4)]):
        moved = ev.import_study(path, store=sqlite, name=f"moved {n}")
        finish(moved)
        assert len(moved.jobs("done")) == 120


def test_any_program_can_read_an_archive(tmp_path: Path, sqlite: str) -> None:
    study = half_trained(sqlite)
    path = study.export(tmp_path / "hill.zip")
    with zipfile.ZipFile(path) as zipped:
        jobs = [json.loads(line) for line in zipped.read("jobs.jsonl").splitlines()]
        zipped.extractall(tmp_path / "out")
    assert [job["job"] for job in jobs] == [job.id for job in study.jobs("done")]
    assert jobs[0]["metrics"]["nan"] == "NaN"
    best = study.result().best
    unpacked = tmp_path / "out" / "checkpoints" / str(best.job.checkpoint)
    assert listing(unpacked) == listing(best.checkpoint)


def test_odd_names_of_files_arrive(tmp_path: Path, sqlite: str, memory: ev.Store) -> None:
    study = new_study(sqlite, rounds=1, population=1)
    names = [b"100%", b"%80", b"\x80", "größe".encode(), b"back\\slash", b"-a b\n", b"deep/..x"]
    job = study.next_job()
    with job:
        (job.directory / "deep").mkdir()
        for name in names:
            with open(bytes(job.directory) + b"/" + name, "wb") as file:
                file.write(name)
        job.metrics = {"height": 1.0}
    moved = ev.import_study(study.export(tmp_path / "hill.zip"), store=memory)
    checkpoint = bytes(moved.result().best.checkpoint)
    for name in names:
        with open(checkpoint + b"/" + name, "rb") as file:
            assert file.read() == name


def test_import_makes_the_store_and_keeps_the_settings(tmp_path: Path, sqlite: str) -> None:
    study = half_trained(sqlite, target=1e9, trainable="tests.store.archive.studies:climb")
    path = study.export(tmp_path / "hill.zip")
    moved = ev.import_study(path, store=f"sqlite:///{tmp_path / 'new.db'}")
    assert moved.record == study.record
    assert moved.record.trainable == "tests.store.archive.studies:climb"

"""How a SQLite store holds, takes in and clears up; what it promises is in the contract."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from evolvent.errors import CheckpointError, StoreError
from evolvent.store.connect import open_store
from evolvent.store.protocol import Store
from tests.contract.crew import Crew
from tests.contract.moving import moved


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(f"sqlite:///{tmp_path / 'log.db'}")
    yield store
    store.close()


def trained(store: Store) -> Crew:
    crew = Crew(store, population=2, rounds=3)
    for _ in range(3):
        crew.train(0.5)
    return crew


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "log.checkpoints").iterdir())


def test_checkpoints_are_held_where_files_cannot_be_linked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = trained(store)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    copy = moved(crew, store, name="copy")
    assert copy.on_disk() == crew.on_disk()


def test_checkpoints_that_cannot_be_held_are_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = trained(store)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr("shutil.copyfile", refuse)
    with (
        pytest.raises(CheckpointError, match="hold the checkpoint"),
        store.dump(crew.id, checkpoints="kept"),
    ):
        pass
    crew.check_disk()


def test_checkpoints_that_cannot_be_moved_leave_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = trained(store)
    before = names(tmp_path)

    rename = os.rename

    def refuse(source: Path, target: Path) -> None:
        if Path(source).name == "checkpoints":
            raise PermissionError(13, "Permission denied")
        rename(source, target)

    with monkeypatch.context() as broken:
        broken.setattr(os, "rename", refuse)
        with pytest.raises(CheckpointError, match="move the checkpoints"):
            moved(crew, store, name="copy")
    assert names(tmp_path) == before
    assert [status.record.name for status in store.studies()] == ["digits"]
    moved(crew, store, name="copy").run()


def test_log_that_tells_of_a_job_twice_is_refused(store: Store, tmp_path: Path) -> None:
    crew = trained(store)
    before = names(tmp_path)
    with store.dump(crew.id, checkpoints="none") as (dump, _):
        jobs = list(dump.jobs)
        twice = replace(dump, record=replace(dump.record, name="copy"), jobs=[*jobs, jobs[0]])
        with pytest.raises(StoreError):
            store.restore(twice, save=lambda _: None)
    assert names(tmp_path) == before


def test_what_a_killed_import_left_is_removed_a_day_later(store: Store, tmp_path: Path) -> None:
    crew = trained(store)
    old, young = (tmp_path / "log.checkpoints" / f"incoming-{n}" for n in ("old", "young"))
    for place in (old, young):
        (place / "checkpoints").mkdir(parents=True)
    day_ago = time.time() - 25 * 3600
    os.utime(old, (day_ago, day_ago))
    moved(crew, store, name="copy")
    assert "incoming-young" in names(tmp_path)
    assert "incoming-old" not in names(tmp_path)


def test_what_lies_where_a_study_comes_to_be_gives_way(store: Store, tmp_path: Path) -> None:
    crew = trained(store)
    left = tmp_path / "log.checkpoints" / "copy-2" / "objects" / "ab" / "left"
    left.mkdir(parents=True)
    copy = moved(crew, store, name="copy")
    assert copy.id == 2
    assert not left.exists()
    copy.run()


def test_collection_spares_what_is_held(store: Store) -> None:
    crew = trained(store)
    with store.dump(crew.id, checkpoints="kept") as (_, held):
        store.collect(crew.id)
        for directory in held.directories.values():
            assert (directory / "weights").is_file()


def test_durable_study_arrives_as_one(store: Store) -> None:
    crew = Crew(store, population=2, rounds=3, durability="power")
    crew.train(0.5)
    copy = moved(crew, store, name="copy")
    assert store.checkpoints(copy.id).sync
    copy.run()


def test_place_where_nothing_can_be_made_is_told(store: Store, tmp_path: Path) -> None:
    crew = Crew(store)
    (tmp_path / "log.checkpoints").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"log\.checkpoints"):
        moved(crew, store, name="copy", which="none")

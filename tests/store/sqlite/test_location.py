"""A SQLite file that cannot be used is refused with its path, the reason and what to do."""

import os
import sqlite3
from pathlib import Path

import pytest

from evolvent.errors import (
    EvolventError,
    StorageFull,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
)
from evolvent.store.connect import open_store
from evolvent.store.sqlite.location import check_place, translate_error

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:35 / /mnt/share rw,relatime shared:2 - nfs4 server:/share rw
41 40 0:36 / /mnt/share/local rw,relatime - ext4 /dev/vdb rw
42 22 0:37 / /mnt/my\\040disk rw,relatime - cifs //server/disk rw
"""


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"no directory .*/missing: make it first"):
        open_store(f"sqlite:///{tmp_path}/missing/log.db")


def test_a_path_that_is_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="is a directory"):
        open_store(f"sqlite:///{tmp_path}")


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="no directory"):
        open_store(f"sqlite:///{tmp_path}/file/log.db")


@pytest.mark.parametrize("denied", ["directory", "file"])
def test_what_may_not_be_written_is_refused_before_it_is_tried(
    denied: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.db"
    path.touch()
    read_only = {"directory": tmp_path, "file": path}[denied]
    monkeypatch.setattr(os, "access", lambda asked, _: Path(asked) != read_only)
    with pytest.raises(StoreUnavailable, match=rf"{path}.*read-only"):
        check_place(path, create=True)


@pytest.mark.parametrize("directory", ["/mnt/share", "/mnt/share/deep/er", "/mnt/my disk"])
def test_network_file_systems_are_refused(
    directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    monkeypatch.setattr(Path, "is_dir", lambda path: str(path) == directory)
    monkeypatch.setattr(os, "access", lambda *_: True)
    with pytest.raises(StoreUnavailable, match="network file system"):
        check_place(Path(directory) / "log.db", create=True, mounts=mounts)


@pytest.mark.parametrize("directory", ["/home", "/mnt/share/local", "/mnt/shared"])
def test_a_local_disk_is_fine_wherever_it_is_mounted(
    directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    monkeypatch.setattr(Path, "is_dir", lambda path: str(path) == directory)
    monkeypatch.setattr(os, "access", lambda *_: True)
    check_place(Path(directory) / "log.db", create=True, mounts=mounts)


def test_a_system_without_a_table_of_mounts_is_trusted(tmp_path: Path) -> None:
    check_place(tmp_path / "log.db", create=True, mounts=tmp_path / "none")


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("my notes " * 1000)
    with pytest.raises(StoreDamaged, match=r"notes\.db"):
        open_store(f"sqlite:///{path}")
    assert path.read_text() == "my notes " * 1000


@pytest.mark.parametrize(
    ("code", "error", "says"),
    [
        (sqlite3.SQLITE_FULL, StorageFull, "disk is full"),
        (sqlite3.SQLITE_READONLY, StoreUnavailable, "read-only"),
        (sqlite3.SQLITE_CANTOPEN, StoreUnavailable, "cannot be opened"),
        (sqlite3.SQLITE_IOERR_WRITE, StoreUnavailable, "reading or writing failed"),
        (sqlite3.SQLITE_BUSY, StoreBusy, "locked by another program"),
        (sqlite3.SQLITE_CORRUPT, StoreDamaged, "not a whole evolvent store"),
        (sqlite3.SQLITE_NOTADB, StoreDamaged, "not a whole evolvent store"),
        (sqlite3.SQLITE_ERROR, StoreError, "what SQLite said"),
    ],
)
def test_what_sqlite_says_becomes_one_of_our_errors_with_the_path(
    code: int, error: type[EvolventError], says: str
) -> None:
    said = sqlite3.OperationalError("what SQLite said")
    said.sqlite_errorcode = code
    told = translate_error(said, Path("/data/log.db"))
    assert type(told) is error
    assert "/data/log.db" in str(told)
    assert says in str(told)


def test_a_file_that_ends_within_a_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    open_store(f"sqlite:///{path}").close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)
    with pytest.raises(StoreDamaged, match=r"log\.db: the file has been cut short"):
        open_store(f"sqlite:///{path}")

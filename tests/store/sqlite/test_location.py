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
from evolvent.store.sqlite.location import check_place, filesystem, translate_error
from tests.contract.crew import Crew

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


def test_what_is_no_file_is_refused_and_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, why in [("pipe", "is a pipe, a socket or a device"), ("loop", "leads to itself")]:
        with pytest.raises(StoreUnavailable, match=f"{name} .*{why}"):
            open_store(f"sqlite:///{tmp_path}/{name}")
    assert (tmp_path / "pipe").is_fifo()
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "loop"}


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="no directory"):
        open_store(f"sqlite:///{tmp_path}/file/log.db")


def test_a_directory_that_may_not_be_written_takes_no_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda asked, _: Path(asked) != tmp_path)
    with pytest.raises(StoreUnavailable, match=rf"log.db: directory {tmp_path} is read-only"):
        check_place(tmp_path / "log.db", create=True)


def test_a_file_that_may_not_be_read_is_refused_before_it_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log.db").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StoreUnavailable, match=r"log\.db: access was denied"):
        check_place(tmp_path / "log.db", create=True)


@pytest.mark.parametrize("directory", ["/mnt/share", "/mnt/share/deep/er", "/mnt/my disk"])
def test_network_file_systems_are_refused(
    directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    monkeypatch.setattr(Path, "is_dir", lambda path: str(path) == directory)
    monkeypatch.setattr(os, "access", lambda *_: True)
    with pytest.raises(StoreUnavailable, match=r"\((nfs4|cifs)\) .* network file system .* serve"):
        check_place(Path(directory) / "log.db", create=True, mounts=mounts)


SHARED = """nfs cifs smb3 ceph lustre gpfs beegfs 9p virtiofs drvfs wekafs orangefs panfs gfs2 ocfs2
    vboxsf afs fakeowner autofs fuse fuse.sshfs fuse.glusterfs fuse.s3fs fuse.rclone fuse.juicefs
    fuse.mergerfs fuse.grpcfuse fuse.vmhgfs-fuse not-invented-yet"""
LOCAL = "ext4 xfs btrfs zfs overlay fuse.fuse-overlayfs tmpfs fuseblk apfs squashfs iso9660"


def mounted(kind: str, directory: Path) -> Path:
    """A table of mounts that says that a directory is of a kind of file system."""
    mounts = directory / "mountinfo"
    mounts.write_text(f"36 35 98:0 / {directory} rw - {kind} server:/x rw\n")
    return mounts


@pytest.mark.parametrize("kind", SHARED.split())
def test_what_is_not_known_to_be_local_is_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=rf"file system \({kind}\) .* not known .* local"):
        check_place(tmp_path / "log.db", create=True, mounts=mounted(kind, tmp_path))


@pytest.mark.parametrize("kind", LOCAL.split())
def test_disks_memory_and_layers_over_them_are_local(kind: str, tmp_path: Path) -> None:
    check_place(tmp_path / "log.db", create=True, mounts=mounted(kind, tmp_path))


def test_who_knows_better_may_say_so_and_is_warned_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mounts = mounted("lustre", tmp_path)
    monkeypatch.setenv("EVOLVENT_ALLOW_NETWORK_FS", "0")
    with pytest.raises(StoreUnavailable, match="set EVOLVENT_ALLOW_NETWORK_FS=1"):
        check_place(tmp_path / "log.db", create=True, mounts=mounts)
    monkeypatch.setenv("EVOLVENT_ALLOW_NETWORK_FS", "1")
    for _ in range(2):
        check_place(tmp_path / "log.db", create=True, mounts=mounts)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "(lustre)" in record.message


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/", "ext4"),
        ("/data/own", "nfs4"),  # the disk below is hidden
        ("/data/own/deep", "nfs4"),
        ("/cache", "tmpfs"),  # mounted twice: the last one counts
        ("/net/one", "nfs"),  # once somebody has gone there
        ("/net/two", "autofs"),
    ],
)
def test_a_mount_that_another_hides_does_not_count(
    directory: str, kind: str, tmp_path: Path
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 1 0:2 / / rw - rootfs rootfs rw\n"
        "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
        "40 22 254:1 / /data/own rw - xfs /dev/vdb rw\n"
        "41 22 0:40 / /data rw - nfs4 server:/data rw\n"
        "43 42 0:42 / /cache rw - tmpfs tmpfs rw\n"
        "42 22 0:41 / /cache rw - nfs4 server:/cache rw\n"
        "50 22 0:50 / /net rw - autofs /etc/auto.net rw\n"
        "51 50 0:51 / /net/one rw - nfs server:/one rw\n"
    )
    assert filesystem(Path(directory), mounts) == kind


def test_this_machine_is_fine(tmp_path: Path) -> None:
    check_place(tmp_path / "log.db", create=True)


def test_a_link_to_a_file_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "log.db").symlink_to(tmp_path / "disk" / "real.db")
    store = open_store(f"sqlite:///{tmp_path}/log.db")
    Crew(store).train(0.5)
    assert store.url == f"sqlite:///{tmp_path}/disk/real.db"
    store.close()
    assert {path.name for path in (tmp_path / "disk").iterdir()} == {
        "real.db", "real.db.lock", "real.checkpoints",
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["log.db"]


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

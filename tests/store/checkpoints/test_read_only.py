"""What is sealed is changed by nobody, or it is found out what was."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolvent.errors import CheckpointDamaged
from evolvent.store.checkpoints.local import LocalCheckpoints

NOBODY = 65534


@pytest.fixture
def checkpoints(tmp_path: Path) -> LocalCheckpoints:
    return LocalCheckpoints(tmp_path / "checkpoints", sync=False)


@pytest.fixture
def owned(tmp_path: Path) -> Iterator[LocalCheckpoints]:
    """Of an ordinary user, unlike root, to whom no mode means anything."""
    if os.geteuid() != 0:
        yield LocalCheckpoints(tmp_path / "owned", sync=False)
        return
    with tempfile.TemporaryDirectory() as place:  # those of pytest are not for everybody
        os.chown(place, NOBODY, -1)
        os.seteuid(NOBODY)
        try:
            yield LocalCheckpoints(Path(place) / "owned", sync=False)
        finally:
            os.seteuid(0)


def sealed(checkpoints: LocalCheckpoints, *names: str) -> Path:
    directory = checkpoints.stage("m0r0")
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("weights")
        (directory / name).chmod(0o755 if name.endswith(".sh") else 0o644)
    (directory / "empty").mkdir()
    return checkpoints.path(checkpoints.seal(directory))


def modes(path: Path) -> dict[str, int]:
    found = [path, *path.rglob("*")]
    return {p.relative_to(path).as_posix(): stat.S_IMODE(p.stat().st_mode) for p in found}


def test_directories_are_read_only_too(checkpoints: LocalCheckpoints) -> None:
    umask = os.umask(0o022)
    try:
        path = sealed(checkpoints, "model", "a/b/run.sh")
    finally:
        os.umask(umask)
    assert modes(path) == {
        ".": 0o555, "a": 0o555, "a/b": 0o555, "empty": 0o555, "model": 0o444, "a/b/run.sh": 0o555,
    }  # fmt: skip


def test_what_a_group_may_do_it_may_still_do(checkpoints: LocalCheckpoints) -> None:
    umask = os.umask(0o002)
    try:
        path = sealed(checkpoints, "a/model")
    finally:
        os.umask(umask)
    assert modes(path) == {".": 0o575, "a": 0o575, "empty": 0o575, "a/model": 0o444}


def test_the_owner_can_neither_add_nor_change_nor_remove(owned: LocalCheckpoints) -> None:
    path = sealed(owned, "a/model")
    for name in ("log", "a/log", "a/model"):
        with pytest.raises(PermissionError):
            (path / name).write_text("more")
    for remove in ((path / "a" / "model").unlink, (path / "empty").rmdir):
        with pytest.raises(PermissionError):
            remove()
    assert owned.verify(path.name) == path


def test_the_owner_collects_sweeps_and_removes_it_all_the_same(
    owned: LocalCheckpoints,
) -> None:
    one, two, three = (sealed(owned, f"{n}/model") for n in "123")
    owned.discard([one.name])
    assert owned.empty_trash() == 7
    owned.sweep({three.name}, staged_before=4e9)
    assert not two.exists()
    owned.remove_all()
    assert not owned.root.exists()


def test_equal_contents_and_damaged_ones_make_room(owned: LocalCheckpoints) -> None:
    path = sealed(owned, "a/model")
    assert sealed(owned, "a/model") == path  # stays staged
    (path / "a" / "model").chmod(0o644)
    (path / "a" / "model").write_text("Weights")
    assert sealed(owned, "a/model") == path
    assert owned.verify(path.name) == path
    assert modes(path)["."] & 0o200 == 0


def test_a_directory_that_training_made_read_only_is_sealed(owned: LocalCheckpoints) -> None:
    directory = owned.stage("m0r0")
    (directory / "a").mkdir()
    (directory / "a" / "model").write_text("weights")
    (directory / "a").chmod(0o555)
    directory.chmod(0o555)  # as a copy of a sealed one is
    assert owned.seal(directory) in owned


def test_a_crash_before_the_last_mode_does_no_harm(
    checkpoints: LocalCheckpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def chmod(path: str, mode: int, **options: bool) -> None:
        if "/objects/" in str(path):
            raise Killed
        real(path, mode, **options)

    real = os.chmod
    monkeypatch.setattr(os, "chmod", chmod)
    with pytest.raises(Killed):
        sealed(checkpoints, "a/model")
    monkeypatch.undo()
    [address] = checkpoints.addresses()
    assert checkpoints.verify(address).is_dir()
    checkpoints.discard([address])
    assert checkpoints.empty_trash() == 7


def write_later(path: Path) -> None:
    """Write by way of modes, as root may, some seconds after the seal."""
    sealed_ns = path.parent.stat().st_mtime_ns
    path.parent.chmod(0o755)
    if path.exists():
        path.chmod(0o644)
    path.write_text("written by a thread")
    os.utime(path, ns=(0, sealed_ns + 2_500_000_000))


@pytest.mark.parametrize(
    ("name", "says"),
    [("log", "'log' was added"), ("model", "'model' is not what was saved")],
)
def test_of_a_single_file_too_damage_names_the_file_and_the_late_writer(
    checkpoints: LocalCheckpoints, name: str, says: str
) -> None:
    directory = checkpoints.stage("m0r0")
    (directory / "model").write_text("weights")
    path = checkpoints.path(checkpoints.seal(directory))
    write_later(path / name)
    with pytest.raises(CheckpointDamaged) as caught:
        checkpoints.verify(path.name)
    assert says in str(caught.value)
    assert re.search(
        rf"'{name}' was written \S+ s after .*join threads and processes", str(caught.value)
    )


def test_of_many_changes_to_a_single_file_the_last_writer_is_named(
    checkpoints: LocalCheckpoints,
) -> None:
    directory = checkpoints.stage("m0r0")
    (directory / "model").write_text("weights")
    path = checkpoints.path(checkpoints.seal(directory))
    write_later(path / "model")
    os.utime(path / "model", (0, 0))
    write_later(path / "log")
    with pytest.raises(CheckpointDamaged, match=r"no manifest says which\); 'log' was written"):
        checkpoints.verify(path.name)


def test_what_the_disk_has_lost_is_nobodys_fault(checkpoints: LocalCheckpoints) -> None:
    path = sealed(checkpoints, "model")
    (path / "model").chmod(0o644)
    before = (path / "model").stat()
    (path / "model").write_text("Weights")
    os.utime(path / "model", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(CheckpointDamaged, match=r"'model' has other bytes than were saved$"):
        checkpoints.verify(path.name)

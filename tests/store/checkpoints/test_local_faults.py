"""Checkpoints under fire: full disks, protected places, crashes at any instant, many processes."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from evolvent.errors import CheckpointDamaged, CheckpointError
from evolvent.store.checkpoints.hashes import HASHES
from evolvent.store.checkpoints.local import LocalCheckpoints

FUTURE = 4e9


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64k,nr_inodes=64", "tmpfs"]
    done = subprocess.run(["mount", *options, place], capture_output=True, check=False)
    if done.returncode != 0:
        assert os.environ.get("CI") != "true", done.stderr
        pytest.skip("mounting a small file system is not permitted here")
    yield place
    subprocess.run(["umount", place], check=True)


def filled(checkpoints: LocalCheckpoints, content: bytes = b"x" * 5000) -> Path:
    directory = checkpoints.stage("m0r0")
    (directory / "weights").write_bytes(content)
    return directory


def two_files(checkpoints: LocalCheckpoints) -> Path:
    directory = filled(checkpoints)
    (directory / "optimizer").write_bytes(b"y")
    return directory


def test_full_disk_is_named_and_leaves_nothing_half_made(small_disk: Path) -> None:
    checkpoints = LocalCheckpoints(small_disk, sync=True)
    address = checkpoints.seal(filled(checkpoints))
    directory = filled(checkpoints, b"y" * 5000)
    with suppress(OSError):
        (small_disk / "ballast").write_bytes(bytes(1 << 20))
    for n in range(64):
        try:
            (small_disk / f"node{n}").touch()
        except OSError:
            break
    with pytest.raises(CheckpointError, match="disk is full"):
        checkpoints.stage("m0r1")
    with pytest.raises(CheckpointError, match="disk is full"):
        checkpoints.seal(directory)
    assert checkpoints.verify(address).is_dir()
    checkpoints.discard([address])
    checkpoints.empty_trash()
    (small_disk / "ballast").unlink()
    assert checkpoints.verify(checkpoints.seal(directory)).is_dir()


def test_read_only_disk_is_named(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = LocalCheckpoints(small_disk, sync=False)
    address = checkpoints.seal(filled(checkpoints))
    directory = filled(checkpoints, b"y")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for attempt in (lambda: checkpoints.stage("m0r1"), lambda: checkpoints.seal(directory)):
        with pytest.raises(CheckpointError, match="file system is read-only"):
            attempt()
    with pytest.raises(CheckpointError, match="file system is read-only"):
        checkpoints.remove_all()
    checkpoints.discard([address])
    assert checkpoints.verify(address).is_dir()
    assert checkpoints.sweep(set(), staged_before=FUTURE) == 0
    assert "cannot discard" in caplog.text
    assert "cannot delete" in caplog.text


def test_place_that_cannot_exist_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    checkpoints = LocalCheckpoints(tmp_path / "file" / "checkpoints", sync=False)
    with pytest.raises(CheckpointError, match=r"file/checkpoints.*a part of the path is a file"):
        checkpoints.stage("m0r0")


CRASHING = """
import os, signal, sys
from pathlib import Path
from evolvent.store.checkpoints.local import LocalCheckpoints

def run(checkpoints):
    for content in ("one", "two", "one"):
        staged = checkpoints.stage("m0r0")
        (staged / "weights").write_text(content)
        address = checkpoints.seal(staged)
        checkpoints.drop(staged)
    checkpoints.discard([address])
    checkpoints.empty_trash()

def child(root, left):
    def count(event, _):
        nonlocal left
        if event == "open" or event.startswith("os."):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    checkpoints = LocalCheckpoints(root, sync=True)
    sys.addaudithook(count)
    run(checkpoints)
    os._exit(0)

for n in range(10_000):
    pid = os.fork()
    if pid == 0:
        child(Path(sys.argv[1]) / str(n), n)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0:
        break
print(n)
"""


@pytest.mark.slow
def test_crash_at_any_instant_leaves_whole_checkpoints_and_sweepable_leftovers(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", CRASHING, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    instants = int(done.stdout)
    assert instants > 30
    for n in range(instants):
        checkpoints = LocalCheckpoints(tmp_path / str(n), sync=False)
        addresses = {path.name for path in checkpoints.root.glob("objects/*/*") if path.is_dir()}
        for address in addresses:
            checkpoints.verify(address)
        checkpoints.sweep(set(), staged_before=FUTURE)
        left = [path for path in checkpoints.root.rglob("*") if len(path.name) > 7]
        assert left == [], f"after event {n}"


CROWD = """
import random, sys, time
from pathlib import Path
from evolvent.errors import CheckpointMissing
from evolvent.store.checkpoints.local import LocalCheckpoints

draw = random.Random(int(sys.argv[2]))
checkpoints = LocalCheckpoints(Path(sys.argv[1]), sync=False)
for _ in range(300):
    staged = checkpoints.stage("m0r0")
    (staged / "weights").write_text(draw.choice("abc"))
    (staged / "deeper").mkdir()
    (staged / "deeper" / "state").write_text("same")
    address = checkpoints.seal(staged)
    for look in (checkpoints.verify, checkpoints.files):
        try:
            look(address)
        except CheckpointMissing:
            pass
    checkpoints.drop(staged)
    checkpoints.discard([address])
    checkpoints.sweep(set(), staged_before=time.time() - 60)
    checkpoints.empty_trash()
"""


def test_processes_that_seal_discard_and_sweep_the_same_contents_do_not_disturb_each_other(
    tmp_path: Path,
) -> None:
    commands = [[sys.executable, "-c", CROWD, tmp_path, str(seed)] for seed in range(4)]
    crowd = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    errors = [process.communicate()[1] for process in crowd]
    assert errors == [""] * 4
    checkpoints = LocalCheckpoints(tmp_path, sync=False)
    checkpoints.sweep(set(), staged_before=FUTURE)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EIO, CheckpointDamaged),
        (errno.EMFILE, CheckpointError),
        (errno.EACCES, CheckpointError),
    ],
)
def test_bad_blocks_are_damage_but_other_trouble_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    """Damage makes a job start from an ancestor, which must not happen for want of a handle."""
    checkpoints = LocalCheckpoints(tmp_path, sync=False)
    address = checkpoints.seal(filled(checkpoints))
    HASHES.clear()  # as in another process

    def failing(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "readv", failing)
    with pytest.raises(CheckpointError, match=address) as caught:
        checkpoints.verify(address)
    assert caught.type is error
    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(CheckpointError, match=address):
        checkpoints.files(address)


def test_checkpoint_replaced_by_equal_contents_while_it_is_read_is_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = LocalCheckpoints(tmp_path, sync=False)
    address = checkpoints.seal(filled(checkpoints))
    again = filled(checkpoints)
    HASHES.clear()  # as in another process
    readv = os.readv

    def replacing(*_: object) -> int:
        monkeypatch.setattr(os, "readv", readv)
        checkpoints.discard([address])
        checkpoints.seal(again)
        raise FileNotFoundError(errno.ENOENT, "gone")

    monkeypatch.setattr(os, "readv", replacing)
    assert checkpoints.verify(address).is_dir()
    assert not again.exists()


def test_equal_contents_that_come_in_between_are_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = LocalCheckpoints(tmp_path, sync=False)
    mine, theirs = filled(checkpoints), filled(checkpoints)
    rename = os.rename

    def overtaken(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "rename", rename)
        checkpoints.seal(theirs)
        rename(source, target)

    monkeypatch.setattr(os, "rename", overtaken)
    address = checkpoints.seal(mine)
    assert checkpoints.verify(address).is_dir()
    assert mine.is_dir()
    assert not theirs.exists()


def test_everything_is_removed_even_if_a_worker_still_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = LocalCheckpoints(tmp_path / "checkpoints", sync=False)
    filled(checkpoints)
    rmdir = os.rmdir

    def overtaken(path: Path) -> None:
        if path == checkpoints.root / "staging":
            monkeypatch.setattr(os, "rmdir", rmdir)
            filled(checkpoints)
        rmdir(path)

    monkeypatch.setattr(os, "rmdir", overtaken)
    checkpoints.remove_all()
    assert not checkpoints.root.exists()


def test_sweep_is_not_disturbed_by_what_others_remove_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = LocalCheckpoints(tmp_path, sync=False)
    address = checkpoints.seal(filled(checkpoints, b"12345"))
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: [*listdir(path), "ghost"])
    checkpoints.sweep(set(), staged_before=FUTURE)
    assert address not in checkpoints


def test_what_cannot_be_listed_beside_a_checkpoint_does_not_stop_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = LocalCheckpoints(tmp_path, sync=False)
    address = checkpoints.seal(two_files(checkpoints))
    checkpoints.discard([address])
    checkpoints.path(address).with_suffix(".json").mkdir()
    assert checkpoints.seal(two_files(checkpoints)) == address
    assert checkpoints.verify(address).is_dir()
    assert "cannot write" in caplog.text


def test_disk_that_is_full_at_the_last_step_leaves_the_staged_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = LocalCheckpoints(tmp_path, sync=False)
    directory = filled(checkpoints)

    def failing(source: Path, _: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source))

    with monkeypatch.context() as full:
        full.setattr(os, "rename", failing)
        with pytest.raises(CheckpointError, match="disk is full"):
            checkpoints.seal(directory)
    assert checkpoints.verify(checkpoints.seal(directory)).is_dir()

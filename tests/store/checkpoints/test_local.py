"""Checkpoints: whole or not there, named by what is in them, and gone when told so."""

import os
import shutil
import stat
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from evolvent.errors import CheckpointDamaged, CheckpointError, CheckpointMissing
from evolvent.store.checkpoints.local import LocalCheckpoints

HELLO = "8bbf3d9a48654e624001f59cf9f5afd813d7bd3c5ae05947ba3b682183848fb7"
FILES = {"model.pt": b"weights", "optimizer/state.bin": b"momentum"}
FUTURE = 4e9


@pytest.fixture(params=[False, True], ids=["process", "power"])
def checkpoints(tmp_path: Path, request: pytest.FixtureRequest) -> LocalCheckpoints:
    return LocalCheckpoints(tmp_path / "checkpoints", sync=request.param)


def staged(checkpoints: LocalCheckpoints, files: Mapping[str, bytes] = FILES) -> Path:
    directory = checkpoints.stage("m3r12-a1")
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


def sealed(checkpoints: LocalCheckpoints, files: Mapping[str, bytes] = FILES) -> str:
    return checkpoints.seal(staged(checkpoints, files))


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    before = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(before, before))  # as if the disk had lost it


def leftovers(checkpoints: LocalCheckpoints) -> list[str]:
    folders = [checkpoints.root / "staging", checkpoints.root / "trash"]
    return [path.name for folder in folders if folder.is_dir() for path in folder.iterdir()]


def test_sealed_checkpoint_holds_the_files_that_were_staged(checkpoints: LocalCheckpoints) -> None:
    directory = staged(checkpoints)
    address = checkpoints.seal(directory)
    assert address in checkpoints
    assert not directory.exists()
    path = checkpoints.verify(address)
    assert path == checkpoints.path(address)
    assert {name: (path / name).read_bytes() for name in FILES} == FILES
    assert checkpoints.files(address) == {"model.pt": 7, "optimizer/state.bin": 8}


def test_address_is_the_same_in_every_version(checkpoints: LocalCheckpoints) -> None:
    address = sealed(checkpoints, {"hello.txt": b"hello"})
    assert address == HELLO


def test_staged_directories_are_fresh_and_private(checkpoints: LocalCheckpoints) -> None:
    first, second = checkpoints.stage("m0r0"), checkpoints.stage("m0r0")
    assert first != second
    assert list(first.iterdir()) == list(second.iterdir()) == []


def test_label_cannot_leave_the_staging_directory(checkpoints: LocalCheckpoints) -> None:
    directory = checkpoints.stage("../../é/x\0" + "y" * 300)
    assert directory.parent == checkpoints.root / "staging"


def test_root_does_not_follow_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoints = LocalCheckpoints(Path("here"), sync=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert checkpoints.verify(sealed(checkpoints)).is_relative_to(tmp_path / "here")


def test_sealed_files_are_read_only(checkpoints: LocalCheckpoints) -> None:
    path = checkpoints.path(sealed(checkpoints))
    modes = [stat.S_IMODE((path / name).stat().st_mode) for name in FILES]
    assert [mode & 0o222 for mode in modes] == [0, 0]


def test_equal_contents_share_an_address_and_stay_staged(checkpoints: LocalCheckpoints) -> None:
    address = sealed(checkpoints)
    second = staged(checkpoints)
    assert checkpoints.seal(second) == address
    assert second.is_dir()
    checkpoints.drop(second)
    assert leftovers(checkpoints) == []
    checkpoints.drop(second)


def test_equal_contents_can_be_sealed_again_after_the_others_were_collected(
    checkpoints: LocalCheckpoints,
) -> None:
    address = sealed(checkpoints)
    second = staged(checkpoints)
    checkpoints.seal(second)
    checkpoints.discard([address])
    assert address not in checkpoints
    assert checkpoints.seal(second) == address
    assert checkpoints.verify(address).is_dir()


def test_modes_times_and_order_are_no_part_of_the_address(checkpoints: LocalCheckpoints) -> None:
    address = sealed(checkpoints)
    directory = staged(checkpoints, dict(reversed(FILES.items())))
    (directory / "model.pt").chmod(0o700)
    os.utime(directory / "model.pt", (1, 1))
    assert checkpoints.seal(directory) == address


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"a": b""},
        {"b": b"xy"},
        {"ab": b"xy"},
        {"a": b"x", "b": b"y"},
        {"a": b"xy", "b": b""},
        {"a/b": b"xy"},
        {"a/": b""},
        {"a\n": b"xy"},
        {"ä€😀": b"xy"},
        {os.fsdecode(b"\xff\xfe"): b"xy"},
    ],
    ids=repr,
)
def test_any_other_contents_have_another_address(
    checkpoints: LocalCheckpoints, files: dict[str, bytes]
) -> None:
    directory = checkpoints.stage("odd")
    for name, content in files.items():
        path = directory / name
        if name.endswith("/"):
            path.mkdir()
            continue
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    address = checkpoints.seal(directory)
    assert address != sealed(checkpoints, {"a": b"xy"})
    assert checkpoints.verify(address).is_dir()
    assert set(checkpoints.files(address)) == {name for name in files if not name.endswith("/")}


def test_empty_directories_are_part_of_the_contents(checkpoints: LocalCheckpoints) -> None:
    directory = staged(checkpoints)
    (directory / "logs" / "deep").mkdir(parents=True)
    address = checkpoints.seal(directory)
    assert address != sealed(checkpoints)
    (checkpoints.path(address) / "logs" / "deep").rmdir()
    with pytest.raises(CheckpointDamaged, match="'logs/deep/' is missing"):
        checkpoints.verify(address)


def test_special_files_are_refused_by_name(checkpoints: LocalCheckpoints) -> None:
    directory = staged(checkpoints)
    os.mkfifo(directory / "pipe")
    with pytest.raises(CheckpointError, match=r"pipe is a special file"):
        checkpoints.seal(directory)
    (directory / "pipe").unlink()
    assert checkpoints.seal(directory) in checkpoints


def test_sealing_what_is_gone_says_so(checkpoints: LocalCheckpoints) -> None:
    directory = staged(checkpoints)
    checkpoints.drop(directory)
    with pytest.raises(CheckpointMissing, match=directory.name):
        checkpoints.seal(directory)


@pytest.mark.parametrize(
    "address", ["", "..", "A" * 64, "a" * 63, "a" * 64 + "\n", "../" * 21 + "a"]
)
def test_what_is_no_address_is_refused(checkpoints: LocalCheckpoints, address: str) -> None:
    with pytest.raises(CheckpointError, match="64 hexadecimal digits"):
        checkpoints.path(address)


def test_missing_checkpoint_is_reported_as_missing(checkpoints: LocalCheckpoints) -> None:
    address = "ab" * 32
    assert address not in checkpoints
    with pytest.raises(CheckpointMissing, match=address):
        checkpoints.verify(address)
    with pytest.raises(CheckpointMissing, match=address):
        checkpoints.files(address)


def damage_bytes(path: Path) -> None:
    overwrite(path / "model.pt", b"Weights")


def damage_length(path: Path) -> None:
    overwrite(path / "model.pt", b"weight")


def damage_by_removing(path: Path) -> None:
    (path / "optimizer" / "state.bin").unlink()


def damage_by_adding(path: Path) -> None:
    (path / "extra").write_bytes(b"")


def damage_by_linking(path: Path) -> None:
    (path / "extra").symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_bytes, "'model.pt' has other bytes"),
        (damage_length, "'model.pt' has 6 bytes instead of 7"),
        (damage_by_removing, "'optimizer/state.bin' is missing"),
        (damage_by_adding, "'extra' was added"),
        (damage_by_linking, "extra is a symbolic link"),
    ],
)
def test_damage_is_found_and_the_file_is_named(
    checkpoints: LocalCheckpoints, damage, words
) -> None:
    address = sealed(checkpoints)
    damage(checkpoints.path(address))
    with pytest.raises(CheckpointDamaged, match=words):
        checkpoints.verify(address)


@pytest.mark.parametrize("manifest", [None, "", "[1]", '{"model.pt": [7, "0"]}', '{"a": 1}'])
def test_damage_is_found_without_a_usable_manifest(
    checkpoints: LocalCheckpoints, manifest: str | None
) -> None:
    address = sealed(checkpoints)
    beside = checkpoints.path(address).with_suffix(".json")
    if manifest is None:
        beside.unlink()
    else:
        beside.write_text(manifest)
    assert checkpoints.verify(address).is_dir()
    damage_bytes(checkpoints.path(address))
    with pytest.raises(CheckpointDamaged, match="no manifest says which"):
        checkpoints.verify(address)


def test_damaged_checkpoint_is_replaced_by_sound_equal_contents(
    checkpoints: LocalCheckpoints,
) -> None:
    address = sealed(checkpoints)
    damage_bytes(checkpoints.path(address))
    again = staged(checkpoints)
    assert checkpoints.seal(again) == address
    assert not again.exists()
    assert checkpoints.verify(address).is_dir()


def test_who_discards_deletes_that_and_not_what_others_have_discarded(
    checkpoints: LocalCheckpoints,
) -> None:
    left, theirs = sealed(checkpoints, {"a": b"left"}), sealed(checkpoints, {"a": b"theirs"})
    ours = [sealed(checkpoints, {"a": b"our first"}), sealed(checkpoints, {"a": b"ours"})]
    checkpoints.discard([left])  # and was killed
    assert checkpoints.empty_trash(checkpoints.discard([ours[0]])) == 4 + 9
    checkpoints.discard([theirs])
    assert checkpoints.empty_trash(checkpoints.discard([ours[1]])) == 4
    assert checkpoints.empty_trash() == 6


def test_discarded_checkpoint_is_unreachable_at_once_and_deleted_with_the_trash(
    checkpoints: LocalCheckpoints,
) -> None:
    gone, kept = sealed(checkpoints), sealed(checkpoints, {"a": b"x"})
    checkpoints.discard([gone, gone, "ab" * 32])
    assert gone not in checkpoints
    assert kept in checkpoints
    assert checkpoints.empty_trash() == 15
    assert checkpoints.empty_trash() == 0
    assert leftovers(checkpoints) == []
    assert not checkpoints.path(gone).with_suffix(".json").exists()


def test_sweep_deletes_all_but_what_is_kept(checkpoints: LocalCheckpoints) -> None:
    kept, gone = sealed(checkpoints), sealed(checkpoints, {"a": b"xy", "b": b"z"})
    staged(checkpoints, {"half": b"12345"})
    trashed = sealed(checkpoints, {"b": b"7654321"})
    checkpoints.discard([trashed])
    (checkpoints.root / "objects" / "ab").mkdir(exist_ok=True)
    (checkpoints.root / "objects" / "ab" / ("ab" * 32 + ".json")).write_text("{}")
    manifest = checkpoints.path(gone).with_suffix(".json").stat().st_size
    assert checkpoints.sweep({kept}, staged_before=FUTURE) in {17, 17 + manifest}
    assert kept in checkpoints
    assert gone not in checkpoints
    assert leftovers(checkpoints) == []
    manifests = [path.stem for path in checkpoints.root.glob("objects/*/*.json")]
    assert manifests == [kept]


def test_sweep_spares_what_was_staged_or_sealed_since(checkpoints: LocalCheckpoints) -> None:
    checkpoints.drop(staged(checkpoints))
    now = time.time()
    old = staged(checkpoints)
    os.utime(old, (1, 1))  # the time of sealing counts
    young, directory = checkpoints.seal(old), staged(checkpoints, {"a": b"x"})
    os.utime(directory, (1, 1))  # whatever the job does to it: the time of staging counts
    assert checkpoints.sweep(set(), staged_before=now) == 0
    assert young in checkpoints
    assert checkpoints.seal(directory) in checkpoints


def test_sealing_equal_contents_makes_the_checkpoint_young_again(
    checkpoints: LocalCheckpoints,
) -> None:
    address = sealed(checkpoints)
    os.utime(checkpoints.path(address), (1, 1))
    now = time.time()
    checkpoints.seal(staged(checkpoints))
    checkpoints.sweep(set(), staged_before=now)
    assert address in checkpoints


def test_strangers_in_the_staging_directory_go_by_their_age(checkpoints: LocalCheckpoints) -> None:
    stranger = checkpoints.stage("x").parent / "copied by hand"
    stranger.mkdir()
    os.utime(stranger, (1000, 1000))
    checkpoints.sweep(set(), staged_before=999)
    assert stranger.is_dir()
    checkpoints.sweep(set(), staged_before=1001)
    assert not stranger.exists()


def test_nothing_to_collect_is_fine_before_anything_was_saved(
    checkpoints: LocalCheckpoints,
) -> None:
    checkpoints.discard(["ab" * 32])
    assert checkpoints.empty_trash() == 0
    assert checkpoints.sweep(set(), staged_before=FUTURE) == 0
    checkpoints.remove_all()


def test_remove_all_leaves_nothing(checkpoints: LocalCheckpoints) -> None:
    sealed(checkpoints)
    staged(checkpoints)
    checkpoints.remove_all()
    assert not checkpoints.root.exists()
    checkpoints.remove_all()


def test_directories_that_training_code_protected_are_removed_too(
    checkpoints: LocalCheckpoints,
) -> None:
    directory = staged(checkpoints)
    (directory / "optimizer").chmod(0o500)
    checkpoints.drop(directory)
    assert not directory.exists()


def test_power_durability_syncs_files_and_names_before_the_address_and_the_address_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = LocalCheckpoints(tmp_path / "new" / "root", sync=True)
    events: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def recording_fsync(descriptor: int) -> None:
        events.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def recording_rename(source: Path, target: Path) -> None:
        events.append(("rename", str(target)))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "rename", recording_rename)
    directory = staged(checkpoints)
    path = checkpoints.path(checkpoints.seal(directory))
    at = events.index(("rename", str(path)))
    before, after = {name for _, name in events[:at]}, {name for _, name in events[at + 1 :]}
    inside = {directory, directory / "optimizer", *(directory / name for name in FILES)}
    above = {tmp_path, tmp_path / "new", checkpoints.root}
    assert before >= {str(name) for name in inside | above}
    assert after == {str(path.parent), str(path.parent.parent)}


def test_process_durability_syncs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = LocalCheckpoints(tmp_path, sync=False)
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("synced"))
    assert sealed(checkpoints) in checkpoints


def test_file_in_the_place_of_a_checkpoint_makes_room(checkpoints: LocalCheckpoints) -> None:
    path = checkpoints.path(HELLO)
    path.parent.mkdir(parents=True)
    path.write_text("in the way")
    assert sealed(checkpoints, {"hello.txt": b"hello"}) == HELLO
    assert checkpoints.verify(HELLO).is_dir()


def test_file_in_the_place_of_many_checkpoints_is_named(checkpoints: LocalCheckpoints) -> None:
    directory = staged(checkpoints, {"hello.txt": b"hello"})
    checkpoints.path(HELLO).parent.parent.mkdir()
    checkpoints.path(HELLO).parent.write_text("in the way")
    with pytest.raises(CheckpointError, match="a part of the path is a file"):
        checkpoints.seal(directory)
    assert directory.is_dir()


def test_cleared_place_is_made_again(checkpoints: LocalCheckpoints) -> None:
    checkpoints.discard([sealed(checkpoints)])
    shutil.rmtree(checkpoints.root)
    address = sealed(checkpoints)
    shutil.rmtree(checkpoints.root / "trash", ignore_errors=True)
    checkpoints.discard([address])
    assert address not in checkpoints

"""Links of training code that stay inside their checkpoint are kept, and lead nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from evolvent.errors import CheckpointDamaged, CheckpointError
from evolvent.store.checkpoints.files import FileEntry, copy_tree, leads_out, make_links
from evolvent.store.checkpoints.local import LocalCheckpoints


@pytest.fixture(params=[False, True], ids=["process", "power"])
def checkpoints(tmp_path: Path, request: pytest.FixtureRequest) -> LocalCheckpoints:
    return LocalCheckpoints(tmp_path / "checkpoints", sync=request.param)


def staged(checkpoints: LocalCheckpoints) -> Path:
    """Return what trainers write who keep several steps and name the last one."""
    directory = checkpoints.stage("m0r0")
    for step in (1, 2):
        (directory / f"step_{step}").mkdir()
        (directory / f"step_{step}" / "model").write_text(f"weights {step}")
    (directory / "latest").symlink_to("step_2")
    (directory / "step_2" / "before").symlink_to("../step_1/model")
    return directory


def test_links_inside_are_kept(checkpoints: LocalCheckpoints) -> None:
    path = checkpoints.verify(checkpoints.seal(staged(checkpoints)))
    assert os.readlink(path / "latest") == "step_2"
    assert (path / "latest" / "before").read_text() == "weights 1"
    assert checkpoints.files(path.name) == {
        "latest": 0, "step_1/model": 9, "step_2/before": 0, "step_2/model": 9,
    }  # fmt: skip
    assert set(path.parent.glob("*.json")) == {path.with_suffix(".json")}


def test_a_link_is_what_it_says_and_no_file(checkpoints: LocalCheckpoints) -> None:
    directories = [staged(checkpoints) for _ in range(3)]
    (directories[1] / "latest").unlink()
    (directories[1] / "latest").symlink_to("step_1")
    (directories[2] / "latest").unlink()
    (directories[2] / "latest").write_text("step_2")
    assert len({checkpoints.seal(directory) for directory in directories}) == 3


@pytest.mark.parametrize("other", ["step_1", None])
def test_another_link_is_damage_and_named(checkpoints: LocalCheckpoints, other: str | None) -> None:
    path = checkpoints.path(checkpoints.seal(staged(checkpoints)))
    path.chmod(0o755)
    (path / "latest").unlink()
    if other is None:
        (path / "latest").write_bytes(b"")
    else:
        (path / "latest").symlink_to(other)
    with pytest.raises(CheckpointDamaged, match="'latest' is another link than was saved, or none"):
        checkpoints.verify(path.name)


LEAVES = [
    ("latest", "/etc/passwd"),
    ("latest", ".."),
    ("latest", "../up"),
    ("step/latest", "../../up"),
    ("latest", "./../up"),
    ("latest", "inner/../../up"),  # `inner` may be a link to anywhere above
    ("a/b/c", "d/.."),
    ("latest", ""),
    ("latest", "nul\0"),
]


@pytest.mark.parametrize(("name", "link"), LEAVES)
def test_a_link_that_may_lead_out_is_known(name: str, link: str) -> None:
    assert leads_out(name, link)


@pytest.mark.parametrize(
    ("name", "link"),
    [("latest", "step"), ("a/b/c", "../../x"), ("a/b", ".."), ("a", "./b//c/"), ("a", "..b/...")],
)
def test_a_link_that_stays_is_known(name: str, link: str) -> None:
    assert not leads_out(name, link)


@pytest.mark.parametrize(("name", "link"), LEAVES[:6])
def test_a_link_that_may_lead_out_is_refused_with_the_cure(
    checkpoints: LocalCheckpoints, name: str, link: str
) -> None:
    directory = checkpoints.stage("m0r0")
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).symlink_to(link)
    with pytest.raises(CheckpointError, match=rf"{name} is a symbolic link to .*save a copy"):
        checkpoints.seal(directory)


def test_what_a_link_leads_to_is_neither_made_read_only_nor_removed(
    checkpoints: LocalCheckpoints, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("of somebody else")
    directory = checkpoints.stage("m0r0")
    (directory / "latest").symlink_to(outside)
    with pytest.raises(CheckpointError):
        checkpoints.seal(directory)
    checkpoints.drop(directory)
    assert (outside / "file").stat().st_mode & 0o200


def test_a_copy_has_the_links_and_may_be_written_to(
    checkpoints: LocalCheckpoints, tmp_path: Path
) -> None:
    path = checkpoints.path(checkpoints.seal(staged(checkpoints)))
    copy_tree(path, tmp_path / "copy")
    assert os.readlink(tmp_path / "copy" / "latest") == "step_2"
    assert (tmp_path / "copy" / "step_2" / "before").read_text() == "weights 1"
    for name in ("", "step_1", "step_2/model"):
        assert (tmp_path / "copy" / name).stat().st_mode & 0o200
        assert not (path / name).stat().st_mode & 0o200


def test_a_copy_may_be_made_anew_and_writes_through_no_link(
    checkpoints: LocalCheckpoints, tmp_path: Path
) -> None:
    path, copy = checkpoints.path(checkpoints.seal(staged(checkpoints))), tmp_path / "copy"
    copy_tree(path, copy)
    (tmp_path / "other").write_text("mine")
    (copy / "step_1" / "model").unlink()
    (copy / "step_1" / "model").symlink_to(tmp_path / "other")
    copy_tree(path, copy)
    assert (tmp_path / "other").read_text() == "mine"
    assert (copy / "step_1" / "model").read_text() == "weights 1"
    assert os.readlink(copy / "latest") == "step_2"


def test_links_are_made_behind_files_and_never_over_one(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("a file")
    make_links(tmp_path, [FileEntry.empty("there", link="x"), FileEntry.empty("a/b", link="../x")])
    assert (tmp_path / "there").read_text() == "a file"
    assert os.readlink(tmp_path / "a" / "b") == "../x"
    with pytest.raises(CheckpointError, match=r"cannot make the link .*there"):
        make_links(tmp_path, [FileEntry.empty("there/c", link="x")])

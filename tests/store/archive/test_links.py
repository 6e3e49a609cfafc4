"""Links inside checkpoints travel with an archive; a stranger's plants none that lead out."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from tests.store.archive.studies import new_study, rewritten

Entries = dict[str, bytes]
NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("source")
    study = new_study(f"sqlite:///{directory / 'here.db'}")
    job = study.next_job()
    assert job is not None
    with job:
        (job.directory / "step_1").mkdir()
        (job.directory / "step_1" / "weights").write_text("weights")
        (job.directory / "latest").symlink_to("step_1")
        job.metrics = {"height": 1.0}
    return study.export(directory / "a.zip", checkpoints="best")


def best(archive: Path, store: str = "memory://") -> Path:
    study = ev.import_study(archive, store=store)
    path: Path = study.result().best.checkpoint
    return path


def test_links_come_along_as_any_program_packs_them(archive: Path, tmp_path: Path) -> None:
    path = best(archive, f"sqlite:///{tmp_path / 'there.db'}")
    assert os.readlink(path / "latest") == "step_1"
    assert (path / "latest" / "weights").read_text() == "weights"
    with zipfile.ZipFile(archive) as zipped:
        [info] = [info for info in zipped.infolist() if info.filename.endswith("latest")]
        assert stat.S_ISLNK(info.external_attr >> 16)
        assert zipped.read(info) == b"step_1"
    again = ev.load_study("hill", store=f"sqlite:///{tmp_path / 'there.db'}")
    path = best(again.export(tmp_path / "b.zip"), f"sqlite:///{tmp_path / 'third.db'}")
    assert os.readlink(path / "latest") == "step_1"


def refused(path: Path, says: str, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'new.db'}"
    with pytest.raises(ev.ArchiveError, match=says):
        ev.import_study(path, store=store)
    assert not list(tmp_path.glob("**/latest"))
    assert not list(tmp_path.glob("**/evil"))


def repacked(archive: Path, path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """Copy an archive, its modes included, with the bytes of entries changed."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            new.writestr(info, change(info.filename, old.read(info)))
    return path


def test_a_file_that_is_called_a_link_is_refused(archive: Path, tmp_path: Path) -> None:
    path = rewritten(archive, tmp_path / "a.zip", lambda _: None, sign=False)  # without modes
    refused(path, "latest: .* whether it is a link", tmp_path)


def test_a_link_that_says_otherwise_than_the_manifest_is_refused(
    archive: Path, tmp_path: Path
) -> None:
    def change(name: str, content: bytes) -> bytes:
        return b"/etc/x" if name.endswith("latest") else content

    refused(repacked(archive, tmp_path / "a.zip", change), "latest: other bytes", tmp_path)


@pytest.mark.parametrize(
    ("name", "known", "says"),
    [
        ("latest", [0, NOTHING, "/etc"], "cannot lead out"),
        ("latest", [0, NOTHING, "../../../objects"], "cannot lead out"),
        ("latest", [0, NOTHING, "step_1/../../up"], "cannot lead out"),
        ("latest", [0, NOTHING, ""], "cannot lead out"),
        ("latest/", [0, NOTHING, "step_1"], "cannot lead out"),
        ("latest", [6, NOTHING, "step_1"], "a link without bytes"),
        ("latest", [0, NOTHING, 7], "link"),
        ("latest", [0, NOTHING, "step_1", 1], "what a link says"),
        ("latest/evil", [0, NOTHING], "below a link"),
        ("latest/evil", [0, NOTHING, ".."], "below a link"),
    ],
)
def test_a_link_that_leads_out_or_is_written_through_is_refused(
    archive: Path, tmp_path: Path, name: str, known: list[Any], says: str
) -> None:
    def change(entry: str, content: bytes) -> bytes:
        if entry != "manifest.json":
            return content
        manifest = json.loads(content)
        [its] = manifest["checkpoints"].values()
        its["files"][name] = known
        return json.dumps(manifest).encode()

    refused(repacked(archive, tmp_path / "a.zip", change), says, tmp_path)

"""A file is replaced whole or not at all; what is no file is written to, and stays what it is."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from evolvent.errors import EvolventError
from evolvent.store.atomic_write import replacing


def test_a_write_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "kept.csv").write_text("before")

    def break_off() -> None:
        with replacing(tmp_path / "kept.csv") as aside:
            aside.write_text("half")
            raise OSError("no room")

    with pytest.raises(EvolventError, match=r"kept\.csv: no room"):
        break_off()
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"]


def test_of_a_link_the_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("before")
    (tmp_path / "link.csv").symlink_to("real.csv")
    with replacing(tmp_path / "link.csv") as aside:
        aside.write_text("after")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == "after"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with replacing(pipe) as path:
            path.write_text("through it")

    writing = threading.Thread(target=write)
    writing.start()
    assert pipe.read_text() == "through it"
    writing.join(30)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_link_that_leads_to_itself_stays(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with (
        pytest.raises(EvolventError, match="loop: it is a link that leads to itself"),
        replacing(tmp_path / "loop"),
    ):
        pass
    assert (tmp_path / "loop").is_symlink()


def test_a_socket_and_a_directory_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket has a short name
    (tmp_path / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
    for name, why in [("directory", "it is a directory"), ("socket", "No such device")]:
        with (
            pytest.raises(EvolventError, match=f"cannot write {name}: {why}"),
            replacing(name) as path,
        ):
            path.write_text("lost")
    assert stat.S_ISSOCK((tmp_path / "socket").stat().st_mode)
    assert {file.name for file in tmp_path.iterdir()} == {"directory", "socket"}

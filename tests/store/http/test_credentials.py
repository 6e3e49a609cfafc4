"""Where a client finds its token, and which files it refuses to trust."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from evolvent.errors import ConfigError
from evolvent.store.http.credentials import read_token, token_file, write_token

ONE, OTHER = "evt_" + "a" * 43, "evt_" + "b" * 43


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("EVOLVENT_TOKEN", "EVOLVENT_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def kept(text: str, *, mode: int = 0o600) -> Path:
    path = token_file()
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_without_either_there_is_no_token() -> None:
    assert read_token() is None


def test_the_environment_comes_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    kept(ONE)
    monkeypatch.setenv("EVOLVENT_TOKEN", f" {OTHER}\n")
    assert read_token() == OTHER


def test_a_file_of_ones_own_is_read() -> None:
    kept(f"{ONE}\n")
    assert read_token() == ONE


def test_another_file_can_be_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "mine"
    path.write_text(OTHER)
    path.chmod(0o400)
    monkeypatch.setenv("EVOLVENT_TOKEN_FILE", str(path))
    assert read_token() == OTHER


def test_a_named_file_must_be_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLVENT_TOKEN_FILE", str(home / "none"))
    with pytest.raises(ConfigError, match=r"EVOLVENT_TOKEN_FILE: there is no file .*none"):
        read_token()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_file_that_others_may_open_is_refused_with_the_way_to_mend_it(mode: int) -> None:
    path = kept(ONE, mode=mode)
    with pytest.raises(ConfigError, match=rf"{path}.*mode {mode:04o}.*chmod 600 {path}") as e:
        read_token()
    assert ONE not in str(e.value)


@pytest.mark.parametrize("text", ["", "hello", "evs_" + "a" * 43, ONE + "\n" + OTHER, ONE[:-1]])
def test_what_is_no_token_is_refused_and_not_repeated(text: str) -> None:
    path = kept(text)
    with pytest.raises(ConfigError, match=rf"{path}: holds no token") as e:
        read_token()
    assert "aaaa" not in str(e.value)


def test_a_written_token_is_read_back_and_nobody_elses_to_see() -> None:
    path = write_token(ONE)
    write_token(OTHER)
    assert read_token() == OTHER
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["token"]


def test_only_a_token_is_written() -> None:
    with pytest.raises(ConfigError, match="token: holds no token"):
        write_token("hunter2")
    assert not token_file().exists()


def test_what_is_no_file_is_not_replaced_by_a_token(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(home / "pipe")
    (home / "directory").mkdir()
    for name, why in [("pipe", "it is no file"), ("directory", "it is a directory")]:
        monkeypatch.setenv("EVOLVENT_TOKEN_FILE", str(home / name))
        with pytest.raises(ConfigError, match=f"{name}: {why}"):
            write_token(ONE)
    assert (home / "pipe").is_fifo()
    assert {path.name for path in home.iterdir()} == {"pipe", "directory"}


def test_of_a_link_the_file_gets_the_token(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "link").symlink_to("token")
    monkeypatch.setenv("EVOLVENT_TOKEN_FILE", str(home / "link"))
    write_token(ONE)
    assert (home / "link").is_symlink()
    assert read_token() == ONE
    assert stat.S_IMODE((home / "token").stat().st_mode) == 0o600

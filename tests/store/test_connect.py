"""A URL names a store; what is none is refused with what there is."""

from pathlib import Path

import pytest

from evolvent.errors import ConfigError, StoreUnavailable
from evolvent.store.connect import open_store
from tests.settings import study_record


@pytest.mark.parametrize("url", ["sqlite:///log.db", "log.db"])
def test_a_relative_url_is_meant_from_the_working_directory_once_and_for_all(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store(url)
    monkeypatch.chdir("/")
    assert store.url == f"sqlite:///{tmp_path}/log.db"
    store.create_study(study_record(name="digits"))
    again = open_store(store.url)
    assert again.find_study("digits").id == 1
    again.close()
    store.close()


def test_an_absolute_url_has_four_slashes(tmp_path: Path) -> None:
    open_store(f"sqlite:////{str(tmp_path)[1:]}/log.db").close()
    assert (tmp_path / "log.db").exists()


def test_memory_stores_of_one_name_share_their_studies() -> None:
    one, other = open_store("memory://test-connect"), open_store("memory://test-connect")
    one.create_study(study_record(name="digits"))
    assert other.find_study("digits").record == study_record(name="digits")
    one.close()
    other.close()


@pytest.mark.parametrize(
    "url", ["", "sqlite://", "sqlite:///", "sqlite://log.db", "mysql://x", "x"]
)
def test_what_is_no_url_of_a_store_is_refused_with_what_there_is(url: str) -> None:
    with pytest.raises(ConfigError, match=r"store: got .*sqlite:///relative\.db"):
        open_store(url)


def test_a_store_that_must_be_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"log\.db: there is no such file"):
        open_store(f"sqlite:///{tmp_path}/log.db", create=False)
    assert list(tmp_path.iterdir()) == []
    open_store(f"sqlite:///{tmp_path}/log.db").close()
    open_store(f"sqlite:///{tmp_path}/log.db", create=False).close()

"""URLs of PostgreSQL stores: what they mean, and that no password is ever shown."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest

import evolvent as ev
from evolvent.errors import ConfigError, EvolventError, StoreUnavailable
from evolvent.store.connect import open_store, secret_url
from tests.needs import needs
from tests.settings import study_record
from tests.store.crowd import hill
from tests.store.servers import PASSWORD, server

psycopg = needs("psycopg")
parse = needs("evolvent.store.postgres.url").parse

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me@host/db", "postgresql://me@host/db?checkpoints=/here/evolvent.checkpoints"),
        ("postgres://host:5433/db", "postgresql://host:5433/db?checkpoints=/here/evolvent.checkpoints"),
        ("postgresql:///db", "postgresql:///db?checkpoints=/here/evolvent.checkpoints"),
        ("postgresql://me:s3cret@[::1]:5/db?sslmode=require&checkpoints=/shared/a b",
         "postgresql://me@[::1]:5/db?sslmode=require&checkpoints=/shared/a%20b"),
        ("postgresql://host/db?password=s3cret&user=me&schema=mine",
         "postgresql://host/db?user=me&checkpoints=/here/evolvent.checkpoints&schema=mine"),
        ("postgresql://a:1,b:2/db?host=/tmp/x", "postgresql://a:1,b:2/db?host=/tmp/x&checkpoints=/here/evolvent.checkpoints"),
    ],
)  # fmt: skip
def test_the_url_that_is_shown_names_all_but_the_password(
    url: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "absolute", lambda path: Path("/here") / path)
    found = parse(url)
    assert found.url == shown
    assert parse(found.url).url == shown
    assert (SECRET in found.secret_url) is (SECRET in url)
    assert SECRET not in repr(found)


def test_the_directory_of_checkpoints_is_the_urls_or_the_environments_or_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("postgresql://h/db").checkpoints == tmp_path / "evolvent.checkpoints"
    monkeypatch.setenv("EVOLVENT_CHECKPOINTS", "/shared")
    assert parse("postgresql://h/db").checkpoints == Path("/shared")
    assert parse("postgresql://h/db?checkpoints=mine").checkpoints == tmp_path / "mine"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret@host:port/db",
        "postgresql://me:s3cret%zz@host/db",
        "postgresql://me:s3/cret@host/db",
        "postgresql://me:s3cret@host/db#x",
        "postgresql://me:s3cret@[host/db",
        "postgresql://me:s3cret@host/db?sslmode",
        "postgresql://me:s3cret@host/db?colour=red",
        "postgresql://me:s3cret@host/db?schema=x;drop",
        'postgresql://me:s3cret@host/db?schema="',
    ],
)
def test_what_cannot_be_read_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match="wanted") as caught:
        open_store(url)
    told = "".join(traceback.format_exception(caught.value))
    shown = [line for line in told.splitlines() if "open_store(" not in line]
    assert "s3cret" not in "\n".join(shown)


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    url = f"postgresql://me:s3cret@/db?host={tmp_path}&port=5"
    with pytest.raises(StoreUnavailable, match=rf"postgresql://me@/db\?host={tmp_path}") as caught:
        open_store(url)
    assert "s3cret" not in str(caught.value)


def test_a_password_opens_the_store_and_is_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    with server() as own:
        plain = f"postgresql://worker@127.0.0.1:{own.port}/postgres?checkpoints={tmp_path}"
        secret = plain.replace("worker@", f"worker:{quote(PASSWORD, safe='')}@")
        store = open_store(secret)
        assert store.url == plain
        shown = [repr(store), repr(vars(store)), repr(vars(vars(store)["_session"]))]
        assert not [text for text in shown if "s3cret" in text]
        with pytest.raises(EvolventError, match="password") as caught:
            open_store(store.url)
        assert "s3cret" not in str(caught.value)
        again = open_store(secret_url(store))
        again.create_study(study_record(name="digits"))
        again.close()
        space = {"x": ev.Uniform(0.1, 1.0), "y": ev.LogUniform(1e-3, 1.0)}
        study = ev.create_study(
            "hill", metric="height", mode="max", space=space, population=2, rounds=2, store=store
        )
        study.run(hill, workers=1, progress=False)  # its worker is another process
        assert "s3cret" not in repr(study)
        with psycopg.connect(own.url) as connection:
            connection.execute("ALTER ROLE worker PASSWORD 'another'")
        store.close()
        with pytest.raises(EvolventError, match="password") as caught:
            open_store(secret)
        told = "".join(traceback.format_exception(caught.value))
        assert not re.search("s3cret", told.replace("open_store(secret)", ""))

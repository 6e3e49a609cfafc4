"""Tokens from the command line: shown once, listed by id, revoked for good."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from evolvent.errors import Unauthenticated
from evolvent.store.connect import open_store
from evolvent.store.http.credentials import read_token, token_file
from evolvent.store.tokens import Token, tokens_of
from tests.cli.commands import evolvent, fine, new_study
from tests.needs import needs
from tests.service.served import served


def recognised(secret: str) -> Token:
    store = open_store("sqlite:///evolvent.db")
    try:
        return tokens_of(store).authenticate(secret)
    finally:
        store.close()


def listed() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(fine("token", "list", "--json"))
    return rows


def test_create_prints_the_token_alone_and_says_the_rest_elsewhere() -> None:
    result = evolvent("token", "create", "--role", "worker", "--name", "lab")
    secret = result.stdout.strip()
    assert recognised(secret).role == "worker"
    assert "'lab': worker for all studies. It is shown this once" in result.stderr


def test_a_listing_shows_every_token_and_no_secret() -> None:
    secret = fine("token", "create", "--role", "viewer", "--expires", "30d").strip()
    (row,) = listed()
    assert (row["role"], row["study"], row["state"]) == ("viewer", None, "active")
    assert row["expires_at"]
    for form in ((), ("--json",), ("--csv",)):
        text = fine("token", "list", *form)
        assert row["id"] in text
        assert secret not in text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("12h", 43_200), ("30d", 2_592_000), ("2w", 1_209_600)],
)
def test_a_token_expires_when_it_was_said_to(text: str, seconds: int) -> None:
    token = recognised(fine("token", "create", "--role", "viewer", "--expires", text).strip())
    assert token.expires_at == pytest.approx(token.created_at + seconds)


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "0d", "1.5h", "30 days", "1y"])
def test_another_time_is_refused_with_examples(text: str) -> None:
    result = evolvent("token", "create", "--role", "viewer", "--expires", text)
    assert result.exit_code == 2
    assert "30d" in result.stderr
    assert not Path("evolvent.db").exists()


def test_a_token_can_be_for_one_study_which_must_be_there() -> None:
    new_study("hill")
    secret = fine("token", "create", "--role", "worker", "--study", "hill").strip()
    assert recognised(secret).study == "hill"
    result = evolvent("token", "create", "--role", "worker", "--study", "hil")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "there is 'hill'" in result.stderr


def test_an_unknown_role_is_refused_with_those_there_are() -> None:
    result = evolvent("token", "create", "--role", "root")
    assert result.exit_code == 2
    assert "viewer" in result.stderr


def test_a_revoked_token_opens_nothing_and_stays_in_the_list() -> None:
    secret = fine("token", "create", "--role", "admin").strip()
    (row,) = listed()
    assert fine("token", "revoke", str(row["id"])).startswith(f"revoked token {row['id']}: admin")
    with pytest.raises(Unauthenticated, match="is revoked"):
        recognised(secret)
    assert [row["state"] for row in listed()] == ["revoked"]


def test_revoking_what_is_not_there_says_what_is() -> None:
    fine("token", "create", "--role", "admin")
    result = evolvent("token", "revoke", "nothing")
    assert result.exit_code == 3
    assert f"there is {listed()[0]['id']}" in result.stderr


def test_a_store_that_is_not_there_is_not_made_by_looking() -> None:
    result = evolvent("token", "list")
    assert result.exit_code == 3
    assert "no study has been created there" in result.stderr


# --- login -------------------------------------------------------------------------------------


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    needs("uvicorn")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EVOLVENT_TOKEN", "")  # put back afterwards, whatever the command sets
    with served(f"sqlite:///{tmp_path / 'evolvent.db'}", tmp_path) as running:
        yield running.url


def test_login_keeps_a_token_that_the_service_takes(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = fine("token", "create", "--role", "viewer").strip()
    said = fine("login", service, answer=f"{secret}\n")
    assert "takes it (0 studies)" in said
    assert secret not in said
    monkeypatch.delenv("EVOLVENT_TOKEN")
    assert read_token() == secret
    with closing(open_store(service)) as store:
        assert store.studies() == []


@pytest.mark.parametrize("text", ["evt_" + "A" * 43, "hello", ""])
def test_login_keeps_nothing_that_it_does_not_take(text: str, service: str) -> None:
    result = evolvent("login", service, answer=f"{text}\n")
    assert result.exit_code == 1
    assert not token_file().exists()


def test_login_wants_a_service() -> None:
    result = evolvent("login", "sqlite:///evolvent.db")
    assert result.exit_code == 2
    assert "https://host:8080" in result.stderr


# --- help --------------------------------------------------------------------------------------


def test_the_help_teaches() -> None:
    text = fine("token", "create", "--help")
    for word in ("viewer", "worker", "admin", "30d", "printed once"):
        assert word in text

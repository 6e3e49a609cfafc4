"""Tokens: only hashes are kept, every end of one counts at once, and all services know the same."""

from __future__ import annotations

import hashlib
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolvent.errors import ConfigError, Unauthenticated
from evolvent.store.connect import open_store
from evolvent.store.tokens import Tokens, hash_of, tokens_of
from tests.store import servers

LONG_S = 3600.0
OVER_S = 1e-9  # over by the time anybody looks


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with servers.at_hand() as url:
        yield url


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    monkeypatch.setenv("EVOLVENT_CHECKPOINTS", str(tmp_path))
    match request.param:
        case "memory":
            yield f"memory://{uuid.uuid4()}"
        case "sqlite":
            yield f"sqlite:///{tmp_path / 'log.db'}"
        case "postgres":
            with servers.schema(request.getfixturevalue("server")) as url:
                yield url


@pytest.fixture
def tokens(url: str) -> Iterator[Tokens]:
    store = open_store(url)
    yield tokens_of(store)
    store.close()


def opens_nothing(tokens: Tokens, browser: str) -> bool:
    with pytest.raises(Unauthenticated, match="signed in no longer"):
        tokens.authenticate_session(browser)
    return True


def test_a_token_is_256_random_bits_and_recognised(tokens: Tokens) -> None:
    secret, token = tokens.create("worker", study="digits", name="lab")
    assert secret.startswith("evt_")
    assert len(secret) == len("evt_") + 43  # 256 bits, six a character
    assert tokens.authenticate(secret) == token
    assert (token.role, token.study, token.name) == ("worker", "digits", "lab")


def test_no_two_tokens_are_alike(tokens: Tokens) -> None:
    made = {tokens.create("viewer")[0] for _ in range(20)}
    assert len(made) == 20
    assert len({token.id for token in tokens.list()}) == 20


def test_the_id_is_the_start_of_the_hash_and_the_name_without_another(tokens: Tokens) -> None:
    secret, token = tokens.create("viewer")
    assert token.hash == hashlib.sha256(secret.encode()).hexdigest()
    assert token.id == token.hash[:12] == token.name


def test_nothing_shown_holds_the_secret_or_its_hash(tokens: Tokens) -> None:
    secret, token = tokens.create("viewer")
    assert secret not in repr(token)
    assert token.hash not in repr(token)


@pytest.mark.parametrize(
    "secret", ["", "evt_", "evt_" + "A" * 43, "evs_" + "A" * 43, "evt_" + "é" * 43, "x" * 10_000]
)
def test_what_is_no_token_opens_nothing(secret: str, tokens: Tokens) -> None:
    tokens.create("admin")
    with pytest.raises(Unauthenticated, match="not known"):
        tokens.authenticate(secret)


def test_a_token_with_the_id_of_another_is_refused_by_its_whole_hash(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'log.db'}")
    secret, token = tokens_of(store).create("admin")
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("UPDATE token SET hash = ?", (token.id + "0" * 52,))
    connection.close()
    with pytest.raises(Unauthenticated, match="not known"):
        tokens_of(store).authenticate(secret)
    store.close()


def test_an_expired_token_is_refused_by_name(tokens: Tokens) -> None:
    secret, _ = tokens.create("worker", name="lab", lifetime_s=OVER_S)
    with pytest.raises(Unauthenticated, match=r"'lab'.*is expired.*another"):
        tokens.authenticate(secret)


def test_a_token_counts_until_it_expires(tokens: Tokens) -> None:
    secret, token = tokens.create("worker", lifetime_s=LONG_S)
    assert tokens.authenticate(secret) == token
    assert token.expires_at == pytest.approx(token.created_at + LONG_S)


def test_a_revoked_token_is_refused_at_once_also_by_a_service_that_knew_it(url: str) -> None:
    service, shell = open_store(url), open_store(url)
    secret, token = tokens_of(service).create("admin")
    tokens_of(service).authenticate(secret)
    tokens_of(shell).revoke(token.id)
    with pytest.raises(Unauthenticated, match="is revoked"):
        tokens_of(service).authenticate(secret)
    service.close()
    shell.close()


def test_a_leaked_token_is_revoked_by_itself(tokens: Tokens) -> None:
    secret, token = tokens.create("viewer")
    assert tokens.revoke(secret).id == token.id
    with pytest.raises(Unauthenticated):
        tokens.authenticate(secret)


def test_revoking_twice_keeps_the_first_time(tokens: Tokens) -> None:
    _, token = tokens.create("viewer")
    tokens.revoke(token.id)
    (first,) = tokens.list()
    tokens.revoke(token.id)
    assert tokens.list() == [first]


def test_an_unknown_id_is_answered_with_those_there_are(tokens: Tokens) -> None:
    _, token = tokens.create("viewer")
    with pytest.raises(ConfigError, match=rf"id: got 'abc'.*there is {token.id}"):
        tokens.revoke("abc")


def test_the_list_keeps_what_is_over_the_newest_last(tokens: Tokens) -> None:
    tokens.create("viewer", name="first", lifetime_s=OVER_S)
    _, second = tokens.create("worker", name="second")
    tokens.create("admin", name="third")
    tokens.revoke(second.id)
    now = tokens.now()
    listed = [(token.name, token.state(now)) for token in tokens.list()]
    assert listed == [("first", "expired"), ("second", "revoked"), ("third", "active")]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"role": "root"}, "role"),
        ({"study": ""}, "study"),
        ({"name": "a\nb"}, "name"),
        ({"lifetime_s": 0}, "expires"),
        ({"lifetime_s": float("nan")}, "expires"),
    ],
)
def test_a_wrong_argument_is_named_and_makes_no_token(
    changes: dict[str, object], field: str, tokens: Tokens
) -> None:
    settings = {"role": "viewer", **changes}
    role = settings.pop("role")
    with pytest.raises(ConfigError, match=f"^{field}: got"):
        tokens.create(role, **settings)
    assert tokens.list() == []


def test_a_browser_stands_for_its_token_until_it_signs_out(tokens: Tokens) -> None:
    _, token = tokens.create("admin")
    browser, other = (tokens.sign_in(token, lifetime_s=LONG_S) for _ in range(2))
    assert tokens.authenticate_session(browser) == token
    tokens.sign_out(browser)
    assert opens_nothing(tokens, browser)
    assert tokens.authenticate_session(other) == token


def test_a_browser_counts_no_longer_than_its_time_nor_its_token(tokens: Tokens) -> None:
    _, lasting = tokens.create("admin")
    _, expired = tokens.create("admin", lifetime_s=OVER_S)
    _, revoked = tokens.create("admin")
    late = tokens.sign_in(lasting, lifetime_s=OVER_S)
    outlived = tokens.sign_in(expired, lifetime_s=LONG_S)
    shut_out = tokens.sign_in(revoked, lifetime_s=LONG_S)
    tokens.revoke(revoked.id)
    assert [opens_nothing(tokens, browser) for browser in (late, outlived, shut_out)] == [True] * 3


def test_active_hashes_are_those_of_all_that_opens_something_now(tokens: Tokens) -> None:
    secret, token = tokens.create("admin")
    lasting, _ = tokens.create("viewer", lifetime_s=LONG_S)
    _, expired = tokens.create("viewer", lifetime_s=OVER_S)
    _, revoked = tokens.create("viewer")
    browser = tokens.sign_in(token, lifetime_s=LONG_S)
    tokens.sign_in(expired, lifetime_s=LONG_S)
    tokens.sign_in(revoked, lifetime_s=LONG_S)
    tokens.revoke(revoked.id)
    tokens.sign_out(tokens.sign_in(token, lifetime_s=LONG_S))
    assert tokens.active_hashes() == {hash_of(each) for each in (secret, lasting, browser)}


def test_a_token_is_no_cookie_and_a_cookie_no_token(tokens: Tokens) -> None:
    secret, token = tokens.create("admin")
    browser = tokens.sign_in(token, lifetime_s=LONG_S)
    assert opens_nothing(tokens, secret)
    with pytest.raises(Unauthenticated):
        tokens.authenticate(browser)


def test_tokens_and_browsers_survive_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    store = open_store(url)
    secret, token = tokens_of(store).create("admin")
    browser = tokens_of(store).sign_in(token, lifetime_s=LONG_S)
    store.close()
    store = open_store(url)
    assert (
        tokens_of(store).authenticate(secret)
        == tokens_of(store).authenticate_session(browser)
        == token
    )
    store.close()


def test_the_file_holds_neither_token_nor_cookie(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'log.db'}")
    secret, token = tokens_of(store).create("admin")
    browser = tokens_of(store).sign_in(token, lifetime_s=LONG_S)
    store.close()
    data = b"".join(path.read_bytes() for path in tmp_path.glob("log.db*"))
    assert token.hash.encode() in data
    assert secret.removeprefix("evt_").encode() not in data
    assert browser.removeprefix("evs_").encode() not in data


def test_browsers_whose_time_is_up_are_forgotten_with_the_next(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'log.db'}")
    tokens = tokens_of(store)
    _, token = tokens.create("admin")
    for _ in range(3):
        tokens.sign_in(token, lifetime_s=OVER_S)
    tokens.sign_in(token, lifetime_s=LONG_S)
    store.close()
    with sqlite3.connect(tmp_path / "log.db") as connection:
        assert connection.execute("SELECT count(*) FROM session").fetchone() == (1,)
    connection.close()


def test_a_service_hands_out_no_tokens() -> None:
    class Elsewhere:
        url = "http://host:8080"

    with pytest.raises(ConfigError, match=r"http://host:8080 hands out no tokens.*where the serv"):
        tokens_of(Elsewhere())

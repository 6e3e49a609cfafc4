"""`evolvent serve`: what it says when it starts, and why it does not."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolvent.store.connect import open_store
from evolvent.store.tokens import RoleName, tokens_of
from tests.cli.commands import evolvent, new_study
from tests.needs import needs
from tests.service.served import served

needs("uvicorn")


def made_token(store: str, role: RoleName = "admin") -> str:
    opened = open_store(store)
    secret, _ = tokens_of(opened).create(role)
    opened.close()
    return secret


# --- when it starts ----------------------------------------------------------------------------


def test_it_says_how_to_make_the_first_token(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'log.db'}"
    with served(store, tmp_path) as running:
        assert running.url.startswith("http://127.0.0.1:")
        said = running.said()
    assert f"no admin token yet: evolvent token create --role admin --store {store}" in said
    assert "evt_" not in said  # a log keeps what is written to it


def test_it_says_nothing_of_tokens_once_there_is_one_for_admins(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'log.db'}"
    made_token(store, "viewer")
    with served(store, tmp_path) as running:
        assert "no admin token yet" in running.said()
    made_token(store)
    (tmp_path / "service.log").unlink()
    with served(store, tmp_path) as running:
        assert running.said() == ""


def test_a_store_in_memory_prints_its_only_token(tmp_path: Path) -> None:
    with served("memory://", tmp_path) as running:
        (token,) = re.findall(r"evt_\S+", running.said())
        assert running.ask("GET", "/api/v1/studies", token=token) == (200, {"studies": []})


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_it_warns_where_others_could_listen(host: str, warned: bool, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'log.db'}"
    with served(store, tmp_path, "--host", host) as running:
        assert (
            "warning: other machines can reach this, and TLS is off" in running.said()
        ) is warned


def test_requests_are_logged_if_asked_for_and_tokens_never(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'log.db'}"
    token = made_token(store)
    with served(store, tmp_path, "--access-log") as running:
        running.ask("GET", "/api/v1/studies", token=token)
        running.signal()
        assert running.wait() == 0
        assert re.search(r'127\.0\.0\.1:\d+ - "GET /api/v1/studies HTTP/1\.1" 200', running.said())
        assert token not in running.said()


# --- why it does not ---------------------------------------------------------------------------


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def refused(*options: str, code: int = 1) -> str:
    """Return what is said by a service that cannot start."""
    result = evolvent("serve", *options)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    return re.sub(r"[\s│]+", " ", result.stderr)


def test_a_port_in_use_is_named_and_leaves_no_file(taken: int, tmp_path: Path) -> None:
    said = refused("--port", str(taken))
    assert list(tmp_path.iterdir()) == []
    assert said.startswith(f"error: --port: {taken} on 127.0.0.1 is in use by another program")


def test_an_address_that_is_none_is_named() -> None:
    assert "--host: got 'no.such.host.invalid'" in refused("--host", "no.such.host.invalid")
    assert "--host: 192.0.2.1 is no address of this machine" in refused("--host", "192.0.2.1")


def test_certificates_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    text = tmp_path / "text.pem"
    text.write_text("hello")
    assert f"--certfile: there is no file {tmp_path}/no" in refused("--certfile", f"{tmp_path}/no")
    assert "--keyfile: needs --certfile" in refused("--keyfile", str(text))
    assert f"--keyfile: missing, and {text} holds no key" in refused("--certfile", str(text))
    said = refused("--certfile", str(text), "--keyfile", str(text))
    assert f"{text} and {text} do not make a pair that TLS can use" in said


@pytest.mark.parametrize("size", ["", "0", "-1", "many", "5X", "1.5G"])
def test_a_size_that_is_none_is_answered_with_examples(size: str) -> None:
    assert "500M" in refused("--max-checkpoint-size", size, code=2)


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    place = tmp_path / "none" / "log.db"
    assert f"{place}: there is no directory" in refused(f"sqlite:///{place}")


def test_a_service_is_not_served_again() -> None:
    assert "hands out no tokens" in refused("http://127.0.0.1:9")


def test_without_its_libraries_it_says_how_to_get_them() -> None:
    code = (
        "import sys; sys.modules['uvicorn'] = None; sys.argv = ['evolvent', 'serve', 'memory://'];"
        "from evolvent.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: a service needs more: pip install 'evolvent[serve]'\n"


def test_help_shows_a_way_from_here_to_a_worker() -> None:
    said = re.sub(r"[\s│]+", " ", evolvent("serve", "--help").stdout)
    for words in ("token create --role worker", "EVOLVENT_TOKEN", "SIGTERM", "/health"):
        assert words in said


def test_studies_made_before_are_served(tmp_path: Path) -> None:
    new_study("hill")
    store = f"sqlite:///{tmp_path / 'evolvent.db'}"
    token = made_token(store)
    with served(store, tmp_path) as running:
        listed = running.ask("GET", "/api/v1/studies", token=token)[1]["studies"]
    assert [it["record"]["name"] for it in listed] == ["hill"]

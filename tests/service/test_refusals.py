"""Every refusal names what is wrong: a field, a header, a part of the address."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from evolvent.errors import (
    CheckpointError,
    StorageFull,
    StoreBusy,
    StoreError,
    StoreUnavailable,
)
from evolvent.store.connect import open_store
from tests.needs import needs
from tests.service.threaded import Service, service
from tests.settings import study_record

# isort: split
from evolvent.service.auth.authenticator import Authenticator
from evolvent.service.web import errors
from evolvent.service.web.errors import to_response
from evolvent.service.web.security_headers import HEADERS

httpx = needs("httpx")

STUDY, STUDY_PAGE = "/api/v1/studies/1", "/studies/1"
ADDRESS = "0" * 64
FENCE = {"member": 0, "round": 0, "attempt": 9, "worker": "w"}
CLAIMED = {"member": 0, "round": 0, "attempt": 1, "worker": "w"}
FAILURE = {"kind": "raised", "message": "m", "traceback": None}
JSON = {"Content-Type": "application/json"}
BINARY = {"Content-Type": "application/octet-stream"}
LISTED = {"name": "a", "size": 4, "sha256": "1" * 64}
REFUSALS: dict[str, tuple[str, str, Any, dict[str, str], int, str]] = {
    "no token": ("GET", STUDY, None, {"Authorization": ""}, 401, "Authorization"),
    "no bearer": ("GET", STUDY, None, {"Authorization": "Basic YTpi"}, 401, "Authorization"),
    "unknown token": ("GET", STUDY, None, {"Authorization": "Bearer evt_x"}, 401, "Authorization"),
    "role too low": ("POST", f"{STUDY}/stop", {}, {"as": "worker"}, 403, "token"),
    "role for reading": ("POST", f"{STUDY}/claim", {"worker": "w"}, {"as": "viewer"}, 403, "token"),
    "role for a page": ("POST", f"{STUDY_PAGE}/stop", {}, {"as": "worker"}, 403, "token"),
    "token of a study": (
        "POST", "/api/v1/studies", {"record": study_record().to_json()},
        {"as": "admin", "of": "other"}, 403, "token",
    ),
    "no such path": ("GET", "/api/v2", None, {}, 404, "path"),
    "no such study": ("GET", "/api/v1/studies/999", None, {}, 404, "study"),
    "no such name": ("GET", "/api/v1/studies/named/nobody", None, {}, 404, "study"),
    "no such job": ("GET", f"{STUDY}/jobs/m99r9", None, {}, 404, "job"),
    "no such checkpoint": ("GET", f"{STUDY}/checkpoints/{ADDRESS}", None, {}, 404, "checkpoint"),
    "no such address": ("GET", f"{STUDY}/checkpoints/x", None, {}, 404, "address"),
    "no such file": ("GET", f"{STUDY}/checkpoints/HELD/files/9", None, {}, 404, "file"),
    "method of a path": ("DELETE", f"{STUDY}/stop", None, {}, 405, "method"),
    "method of a page": ("PATCH", STUDY_PAGE, None, {}, 405, "method"),
    "name taken": (
        "POST", "/api/v1/studies", {"record": study_record(name="hill").to_json()}, {}, 409, "name"
    ),
    "lease lost": (
        "POST", f"{STUDY}/fail", {**FENCE, "failure": FAILURE}, {}, 409, "attempt"
    ),
    "nothing to pin": ("POST", f"{STUDY}/pin", {"job": "m0r0"}, {}, 404, "job"),
    "upload gone": ("POST", f"{STUDY}/uploads/{'0' * 32}/seal", None, {}, 409, "upload"),
    "offset not there": (
        "PUT", f"{STUDY}/uploads/BEGUN/files/0?offset=3", b"x", BINARY, 409, "offset"
    ),
    "file not listed": (
        "PUT", f"{STUDY}/uploads/BEGUN/files/7", b"x", BINARY, 409, "files"
    ),
    "body too long": ("POST", f"{STUDY}/stop", b" " * (9 << 20), JSON, 413, "body"),
    "file too long": (
        "PUT", f"{STUDY}/uploads/BEGUN/files/0", b"12345", BINARY, 413, "files"
    ),
    "checkpoint too large": (
        "POST", f"{STUDY}/uploads", {"files": [{**LISTED, "size": 2**50}]}, {}, 413, "files"
    ),
    "type of a body": ("POST", f"{STUDY}/stop", b"{}", {}, 415, "Content-Type"),
    "type of a file": (
        "PUT", f"{STUDY}/uploads/BEGUN/files/0", b"1234", JSON, 415, "Content-Type"
    ),
    "range": (
        "GET", f"{STUDY}/checkpoints/HELD/files/0", None, {"Range": "bytes=9-"}, 416, "Range"
    ),
    "no such field": ("POST", f"{STUDY}/stop", {"why": "x"}, {}, 422, "why"),
    "a key where the fence does": (
        "POST", f"{STUDY}/fail", {**FENCE, "failure": FAILURE, "key": "k"}, {}, 422, "key"
    ),
    "points left out": (
        "POST", f"{STUDY}/heartbeat", {**CLAIMED, "offset": 9}, {}, 422, "offset"
    ),
    "no such parameter": ("GET", f"{STUDY}/jobs?many=9", None, {}, 422, "many"),
    "value of a field": ("POST", f"{STUDY}/extend", {"rounds": "x"}, {}, 422, "rounds"),
    "hyperparameter": (
        "POST", f"{STUDY}/push", {"hyperparameters": {"lr": 9}}, {}, 422, "hyperparameters.lr"
    ),
    "not JSON": ("POST", f"{STUDY}/stop", b"{", JSON, 400, "body"),
}  # fmt: skip
"""Method, path, body, headers (and whose token); status and field of the answer."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('refusals') / 'log.db'}")
    with contextlib.closing(store), service(store) as made:
        for name in ("hill", "other"):
            study = store.create_study(study_record(name=name))
            store.claim(study, worker="w", lease_s=3600.0)
        yield made


@pytest.fixture(scope="module")
def client(running: Service) -> Iterator[Any]:
    headers = {"Authorization": f"Bearer {running.token()}"}
    with httpx.Client(base_url=running.url, headers=headers, timeout=60) as made:
        yield made


def field_of(answer: Any) -> Any:
    """Return the field that an answer names."""
    return answer.json()["error"]["field"]


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_names_what_is_wrong(case: str, running: Service, client: Any) -> None:
    method, path, body, headers, status, field = REFUSALS[case]
    given = {name: value for name, value in headers.items() if name not in ("as", "of")}
    if "as" in headers:
        role: Any = headers["as"]
        given["Authorization"] = f"Bearer {running.token(role, headers.get('of'))}"
    if "HELD" in path:
        path = path.replace("HELD", held(running))
    if "BEGUN" in path:
        begun = client.post(f"{STUDY}/uploads", json={"files": [LISTED], "key": "begun"})
        path = path.replace("BEGUN", begun.json()["upload"])
    its: Any = {"content": body} if isinstance(body, bytes) else {"json": body}
    answer = client.request(method, path, headers=given, **(its if body is not None else {}))
    assert (answer.status_code, field_of(answer)) == (status, field), answer.text


def held(running: Service) -> str:
    """Return the address of a checkpoint that is there, with one file of one byte."""
    checkpoints = running.store.checkpoints(1)
    staged = checkpoints.stage("held")
    (staged / "model").write_bytes(b"1")
    return checkpoints.seal(staged)


def test_a_page_s_form_without_its_token_is_told_which(running: Service) -> None:
    with httpx.Client(base_url=running.url) as browser:
        browser.post("/sign-in", data={"token": running.token()})
        forged = browser.post(f"{STUDY}/stop", json={})
        assert (forged.status_code, field_of(forged)) == (403, "X-CSRF-Token")
        foreign = browser.post(f"{STUDY}/stop", json={}, headers={"Sec-Fetch-Site": "cross-site"})
        assert (foreign.status_code, field_of(foreign)) == (403, "Sec-Fetch-Site")
        foreign = browser.post(f"{STUDY}/stop", json={}, headers={"Origin": "http://evil"})
        assert (foreign.status_code, field_of(foreign)) == (403, "Origin")


def test_too_many_wrong_tokens_are_told_what_was_wrong() -> None:
    store = open_store("memory://")
    with contextlib.closing(store), service(store) as other:
        wrong = {"Authorization": "Bearer evt_x"}
        answers = [httpx.get(f"{other.url}/api/v1/studies", headers=wrong) for _ in range(12)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
        assert {field_of(answer) for answer in answers} == {"Authorization"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CheckpointError("cannot write /x/weights: No space left on device"), 507),
        (StorageFull("/x/log.db: database or disk is full"), 507),
        (StorageFull("hyperparameters: the disk is full"), 507),
        (StoreUnavailable("/x/log.db: cannot be opened"), 503),
        (StoreBusy("/x/log.db stayed locked for 60 s"), 503),
    ],
    ids=str,
)
def test_trouble_of_the_store_is_told_as_the_store_s(error: Exception, status: int) -> None:
    told = errors.to_response(error)
    assert (told.status_code, json.loads(bytes(told.body))["error"]["field"]) == (status, "store")


def test_trouble_of_the_store_itself_is_told_as_a_number_and_in_the_log_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    response = to_response(StoreError("postgresql://host/db: no such column"))
    assert response.status_code == 500
    assert b"postgresql" not in bytes(response.body)
    assert "no such column" in caplog.text
    assert to_response(StorageFull("database or disk is full")).status_code == 507


def test_what_breaks_before_a_page_has_the_headers_of_every_page(
    running: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("a fault of ours")

    headers = {"Authorization": f"Bearer {running.token()}", "Accept": "text/html"}
    monkeypatch.setattr(Authenticator, "authenticate", broken)
    answer = httpx.get(f"{running.url}{STUDY_PAGE}", headers=headers)
    assert answer.status_code == 500
    assert "a fault of ours" not in answer.text
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS

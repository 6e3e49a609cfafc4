"""Hostile and broken input: every answer is a refusal that names the field, and nothing breaks."""

from __future__ import annotations

import contextlib
import copy
import html
import json
import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from evolvent.errors import Unauthenticated
from evolvent.store.connect import open_store
from evolvent.store.tokens import tokens_of
from tests.needs import needs
from tests.service.threaded import Service, service

httpx = needs("httpx")

ADDRESS = "0" * 64
STUDY = "/api/v1/studies/1"
STUDY_PAGE = "/studies/1"
FENCE = {"member": 0, "round": 0, "attempt": 1, "worker": "w"}
FAILURE = {"kind": "raised", "message": "m", "traceback": None}
POINTS = [{"step": 1, "values": {"a": 1}}]
RESULT = {"score": 1, "metrics": {"score": 1}, "checkpoint": ADDRESS, "points": POINTS}
RECORD = {
    "name": "new", "metric": "score", "mode": "max", "population": 2, "rounds": 2, "seed": 0,
    "space": {"lr": {"type": "LogUniform", "low": 0.001, "high": 1}}, "algorithm": {"type": "PBT"},
    "synchronous": False, "initial": [], "durability": "process", "max_failures": 1,
    "target": None, "trainable": None,
}  # fmt: skip
WRITES: dict[str, dict[str, Any]] = {
    "/api/v1/studies": {"record": RECORD, "key": "k"},
    f"{STUDY}/claim": {"worker": "w", "lease_s": 60, "prefer": 9, "wait_s": 0, "key": "k"},
    f"{STUDY}/heartbeat": {**FENCE, "lease_s": 60, "points": POINTS, "offset": 0},
    f"{STUDY}/report": {**FENCE, **RESULT, "offset": 0},
    f"{STUDY}/fail": {**FENCE, "failure": FAILURE},
    f"{STUDY}/release": {"worker": "w", "failure": FAILURE},
    f"{STUDY}/reparent": {**FENCE, "parent": "m0r0", "reason": "x"},
    f"{STUDY}/stop": {"reason": "x"},
    f"{STUDY}/extend": {"rounds": 3},
    f"{STUDY}/retarget": {"target": 10.0},
    f"{STUDY}/remember": {"trainable": "a:b"},
    f"{STUDY}/push": {"hyperparameters": {"lr": 0.1}, "done": RESULT, "key": "k"},
    f"{STUDY}/pin": {"job": "m0r0"},
    f"{STUDY}/unpin": {"job": "m0r0"},
    f"{STUDY}/uploads": {"files": [{"name": "a", "size": 1, "sha256": ADDRESS}], "key": "k"},
}
ODD: list[Any] = [
    None, True, -1, 2**31, 2**63, 10**300, 10**400, 1.5, 1e308, "", "a\0b", "\x1b[31m", "\u202e",
    "é" * 300, "x" * 20_000, "'; DROP TABLE studies; --", "<script>", "../../etc/passwd", "..\\..",
    "NaN", "Infinity", "m0r0", f"m{'9' * 5000}r1", "\ud800", [], {}, [None], {"": ""},
    {"a": {"b": {"c": 1}}}, {"type": "CustomExplore", "fn": "os:system"},
]  # fmt: skip
NAMES = [
    "'; DROP TABLE finished; --",
    "<script>alert(1)</script>",
    "../../etc/shadow",
    "ñ 数 \\ & %2e",
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("hostile")
    store = open_store(f"sqlite:///{folder / 'log.db'}")
    with contextlib.closing(store), service(store) as made:
        for name in ("hill", "other"):
            study(made, name)
        yield made


@pytest.fixture(scope="module")
def client(running: Service) -> Iterator[Any]:
    headers = {"Authorization": f"Bearer {running.token()}"}
    with httpx.Client(base_url=running.url, headers=headers, timeout=60) as made:
        yield made


@pytest.fixture(autouse=True)
def goes_on(running: Service, client: Any) -> Iterator[None]:
    """Whatever was sent: the service answers afterwards, and the log can be read whole."""
    yield
    assert client.get("/api/v1/studies").status_code == 200
    for status in running.store.studies():
        assert len(running.store.members(status.id)) == status.members
        list(running.store.jobs(status.id))
    for path in (STUDY_PAGE, f"{STUDY_PAGE}/jobs.csv", f"{STUDY}/jobs", f"{STUDY}/failures"):
        assert client.get(path).status_code == 200


def study(running: Service, name: str) -> int:
    """Make a study; return its number."""
    made = ev.create_study(
        name, metric="score", mode="max", space={"lr": ev.LogUniform(1e-4, 1)}, population=4,
        rounds=3, durability="process", store=running.store,
    )  # fmt: skip
    return made.id


def refused(answer: Any) -> dict[str, Any]:
    """Return the error of an answer that must be a refusal which names a field."""
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:300])
    assert "Traceback" not in answer.text
    error = answer.json()["error"]
    assert error["field"], error
    assert isinstance(error["message"], str)
    return dict(error)


def post(client: Any, path: str, body: Any) -> Any:
    """Send JSON, also what is none by the letter."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(path, content=content, headers={"Content-Type": "application/json"})


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inside = dict(enumerate(value)) if isinstance(value, list) else value
    for name, item in inside.items() if isinstance(inside, dict) else ():
        yield from paths(item, (*path, name))


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    made = copy.copy(value)
    made[path[0]] = replaced(made[path[0]], path[1:], by)
    return made


def raw(running: Service, data: bytes) -> tuple[int, dict[str, Any]]:
    """Send bytes; return status and JSON of the answer."""
    port = int(running.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        response = HTTPResponse(connection)
        response.begin()
        body = response.read()
        return response.status, json.loads(body) if body else {}


def head(running: Service, method: str, path: str, *lines: str) -> bytes:
    token = running.token()
    its = [f"{method} {path} HTTP/1.1", "Host: h", f"Authorization: Bearer {token}", *lines]
    return ("\r\n".join([*its, "Connection: close"]) + "\r\n\r\n").encode("latin-1")


# --- every field of every write ---------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("path", WRITES)
def test_no_value_of_any_field_breaks_a_write(path: str, client: Any) -> None:
    good, answers = WRITES[path], 0
    for where in paths(good):
        for number, odd in enumerate(ODD):
            body = replaced(good, where, odd)
            if isinstance(body, dict) and "key" in body and where != ("key",):
                body["key"] = f"{path}{where}{number}"
            answer = post(client, path, body)
            answers += 1
            if answer.status_code >= 300:
                refused(answer)
    assert answers >= len(ODD) * len(good)


@pytest.mark.parametrize("field", ["rounds", "population", "max_failures"])
def test_a_count_that_no_database_holds_makes_no_study(field: str, client: Any) -> None:
    body = {"record": {**RECORD, "name": field, field: 10**30}}
    assert refused(post(client, "/api/v1/studies", body))["field"] == field


@pytest.mark.parametrize("field", ["score", "lease_s", "wait_s", "target"])
@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999", '"NaN"'])
def test_what_is_not_finite_is_refused(field: str, word: str, client: Any) -> None:
    path = {"score": "report", "target": "retarget", "lease_s": "heartbeat", "wait_s": "claim"}
    where = f"{STUDY}/{path[field]}"
    text = json.dumps({**WRITES[where], field: "HERE"}).replace('"HERE"', word)
    assert refused(post(client, where, text.encode()))["field"] in {field, "body"}


@pytest.mark.parametrize(
    "value", [10**400, "high", None, [1], {"a": 1}], ids=lambda x: type(x).__name__
)
def test_what_is_no_number_or_too_large_for_a_float_is_no_objective(
    value: Any, client: Any
) -> None:
    body = {**FENCE, "metrics": {"score": value}, "checkpoint": ADDRESS}
    assert refused(post(client, f"{STUDY}/report", body))["field"] == "metrics"


def test_a_metric_nested_beyond_reason_is_refused(client: Any) -> None:
    deep = json.loads("[" * 25 + "]" * 25)
    body = {**FENCE, "metrics": {"score": 1, "deep": deep}, "checkpoint": ADDRESS}
    assert refused(post(client, f"{STUDY}/report", body))["field"] == "metrics"


# --- what is no proper body --------------------------------------------------------------------

BODIES = {
    "deep list": b'{"reason":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep object": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "deeper than is read": b'{"reason":' + b"[" * 40 + b"]" * 40 + b"}",
    "a field twice": b'{"reason":"a","reason":"b"}',
    "no UTF-8": b'{"reason":"\xff"}',
    "UTF-16": '{"reason":"a"}'.encode("utf-16"),
    "half a surrogate": b'{"reason":"\\ud800"}',
    "a list": b"[]",
    "null": b"null",
    "more after it": b"{} x",
    "a number of 5,000 digits": b'{"rounds":' + b"9" * 5000 + b"}",
    "9 MB": b'{"reason":"' + b"x" * 9_000_000 + b'"}',
    "an unknown field": b'{"":1}',
    "gzip": b"\x1f\x8b\x08\x00",
}


@pytest.mark.usefixtures("no_finalizers")
@pytest.mark.parametrize("case", BODIES)
def test_a_broken_body_is_refused(case: str, client: Any) -> None:
    refused(post(client, f"{STUDY}/stop", BODIES[case]))


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "x", ""])
def test_a_body_of_another_type_is_refused(kind: str, client: Any) -> None:
    answer = client.post(f"{STUDY}/stop", content=b"{}", headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert refused(answer)["field"] == "Content-Type"


@pytest.mark.usefixtures("no_finalizers")
@pytest.mark.parametrize(
    "body",
    [b"", b'["settings",{}]\n', b"[" * 100_000 + b"\n", b"\xff\n"],
    ids=["nothing", "no record", "deep", "no UTF-8"],
)
def test_a_broken_study_is_not_put_in(body: bytes, client: Any) -> None:
    kind = {"Content-Type": "application/zip"}
    refused(client.post("/api/v1/restore", content=body, headers=kind))


CHUNKED = ("Transfer-Encoding: chunked", "Content-Type: application/json")
REQUESTS: dict[str, tuple[int, tuple[str, ...], bytes]] = {
    "declares a terabyte": (413, (f"Content-Length: {10**12}",), b"{}"),
    "declares 30 digits": (400, ("Content-Length: 1" + "0" * 30,), b"{}"),
    "declares less than nothing": (400, ("Content-Length: -5",), b"{}"),
    "declares a word": (400, ("Content-Length: abc",), b"{}"),
    "declares two lengths": (400, ("Content-Length: 2", "Content-Length: 5"), b"{}"),
    "declares length and chunks": (
        400, (*CHUNKED, "Content-Length: 2"), b"2\r\n{}\r\n0\r\n\r\n"
    ),
    "chunks that are none": (400, CHUNKED, b"zz\r\n{}\r\n0\r\n\r\n"),
    "chunks without end": (413, CHUNKED, (b"100000\r\n" + b" " * 0x100000 + b"\r\n") * 9),
}  # fmt: skip


@pytest.mark.parametrize("case", REQUESTS)
def test_a_request_that_lies_about_its_length_is_refused(case: str, running: Service) -> None:
    status, lines, body = REQUESTS[case]
    kind = () if lines[:2] == CHUNKED else ("Content-Type: application/json",)
    answer = raw(running, head(running, "POST", f"{STUDY}/stop", *kind, *lines) + body)
    assert answer[0] == status
    assert answer[1]["error"]["field"]


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x00\xa5\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
def test_what_is_no_http_is_refused_in_json(data: bytes, running: Service) -> None:
    status, told = raw(running, data)
    assert (status, told["error"]["field"]) == (400, "request")


@pytest.mark.parametrize(
    ("method", "told_as"),
    [("PATCH", (405, "method")), ("TRACE", (405, "method")),
     ("BREW", (400, "request")), ("post", (400, "request"))],  # none that HTTP knows
)  # fmt: skip
@pytest.mark.parametrize("path", [f"{STUDY}/stop", "/health", STUDY_PAGE])
def test_a_method_that_there_is_not_is_refused(
    method: str, told_as: tuple[int, str], path: str, running: Service
) -> None:
    status, told = raw(running, head(running, method, path))
    assert (status, told["error"]["field"]) == told_as


# --- addresses ---------------------------------------------------------------------------------

NINES = "9" * 5000
PLACES = [
    "/api/v1/studies/named/%2e%2e%2f%2e%2e%2fetc%2fhosts", "/api/v1/studies/named/..%5c..%5cx",
    "/api/v1/studies/named/a%00b", "/api/v1/studies/named//etc/passwd",
    "/api/v1/studies/named/%ff%fe", "/api/v1/studies/../../etc/passwd", "/api/v1/studies/%00",
    f"/api/v1/studies/{NINES}", "/api/v1/studies/-1", "/api/v1/studies/%D9%A1",
    f"{STUDY}/jobs/m0r0%00", f"{STUDY}/jobs/m{NINES}r1", f"{STUDY}/jobs/..%2f..",
    f"{STUDY}/lineage/m{NINES}r1", f"{STUDY}/points/%2e%2e", f"{STUDY}/members/%00/points",
    f"{STUDY}/checkpoints/%2e%2e", f"{STUDY}/checkpoints/..%2f..%2fetc%2fpasswd",
    f"{STUDY}/checkpoints/{ADDRESS}%00", f"{STUDY}/checkpoints/{ADDRESS}/files/%2e%2e%2f",
    f"{STUDY}/uploads/%00", f"{STUDY}/uploads/%2e%2e", f"{STUDY}/uploads/{NINES}",
    f"{STUDY}/jobs?limit=1e3", f"{STUDY}/jobs?after={NINES}", f"{STUDY}/jobs?state=%00",
    f"{STUDY}/jobs?nope=1", f"{STUDY}/scan?columns=%27%3B--", f"{STUDY}/scan",
    f"{STUDY}/failures?limit=-1", f"{STUDY}/dump?checkpoints=..%2f",
    f"{STUDY}/dump?checkpoints=m{NINES}r1", "/static/%2e%2e%2f%2e%2e/x", "/static/x/../../app.py",
    "/static/x/..%2f..%2fapp.py", f"{STUDY_PAGE}/figures/..%2f",
]  # fmt: skip
PAGES = [
    f"{STUDY_PAGE}?page=00000000001{NINES}", f"{STUDY_PAGE}?page=0", f"{STUDY_PAGE}?state=%00",
    f"{STUDY_PAGE}?sort=%00", f"{STUDY_PAGE}/jobs/m{NINES}r1", f"{STUDY_PAGE}/jobs/%00",
    f"{STUDY_PAGE}/jobs/m0r{'9' * 40}", f"{STUDY_PAGE}/jobs/m{'9' * 40}r0/points",
    f"{STUDY_PAGE}/figures/%00", f"{STUDY_PAGE}/jobs.csv?page=00000000001{NINES}",
    f"/studies/{NINES}", "/static/x/%00",
]  # fmt: skip


def short(place: str) -> str:
    return place.replace(NINES, "9...").replace(ADDRESS, "0...")


@pytest.mark.parametrize("place", PLACES, ids=short)
def test_an_address_that_leads_nowhere_is_refused(place: str, running: Service) -> None:
    status, told = raw(running, head(running, "GET", place))
    assert 400 <= status < 500
    assert told["error"]["field"], told


@pytest.mark.parametrize("place", PAGES, ids=short)
def test_a_page_that_there_is_not_is_a_page_that_says_so(place: str, client: Any) -> None:
    answer = client.get(place)
    assert 400 <= answer.status_code < 500, answer.text[-500:]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "form",
    [b"&".join(b"a%d=1" % i for i in range(1500)), b"reason=%00", b"reason=%ff%1b", b"reason=a\0"],
    ids=["1500 fields", "NUL", "no UTF-8", "plain NUL"],
)
def test_a_broken_form_is_refused(form: bytes, client: Any) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = client.post(f"{STUDY_PAGE}/stop", content=form, headers=kind)
    assert answer.status_code == 422


# --- who asks, and when ------------------------------------------------------------------------


def test_a_report_counts_once_and_an_older_attempt_never(running: Service, client: Any) -> None:
    number = study(running, "late")
    path = f"/api/v1/studies/{number}"
    late = post(client, f"{path}/claim", {"worker": "late", "lease_s": -1}).json()["job"]
    job = post(client, f"{path}/claim", {"worker": "w", "lease_s": 600, "prefer": late["member"]})
    lease = job.json()["job"]
    assert (lease["job"], lease["attempt"]) == (late["job"], late["attempt"] + 1)
    checkpoints = running.store.checkpoints(number)
    staged = checkpoints.stage(lease["job"])
    (staged / "model").write_bytes(b"1")
    report = {
        "member": lease["member"], "round": lease["round"], "attempt": lease["attempt"],
        "worker": "w",
        "metrics": {"score": 1, "huge": 10**400, "<b>": "NaN", "map": [[1, "<b>"]], "word": "w"},
        "checkpoint": checkpoints.seal(staged),
    }  # fmt: skip
    old = {**report, "attempt": late["attempt"], "worker": "late"}
    assert refused(post(client, f"{path}/report", old))["type"] == "LeaseLost"
    assert post(client, f"{path}/report", report).status_code == 204
    again = post(client, f"{path}/report", report).status_code
    assert again in {204, 409}
    assert post(client, f"{path}/report", old).status_code == 409
    done = client.get(f"{path}/jobs?state=done").json()["jobs"]
    assert [it["job"] for it in done] == [lease["job"]]
    for page in (f"/studies/{number}", f"/studies/{number}/jobs/{lease['job']}"):
        shown = client.get(page)
        assert shown.status_code == 200
        assert "<b>" not in shown.text
    for column in ("m.huge", "m.<b>", "m.map", "m.word"):
        sorted_by = client.get(f"/studies/{number}", params={"sort": column, "columns": column})
        assert sorted_by.status_code == 200


@pytest.mark.parametrize("path", [path for path in WRITES if path != "/api/v1/studies"])
def test_a_token_for_another_study_finds_none(path: str, running: Service) -> None:
    bearer = {"Authorization": f"Bearer {running.token('admin', study='other')}"}
    with httpx.Client(base_url=running.url, headers=bearer) as stranger:
        answer = post(stranger, path, WRITES[path])
        assert (answer.status_code, refused(answer)["field"]) == (404, "study")
        assert [s["record"]["name"] for s in stranger.get("/api/v1/studies").json()["studies"]] == [
            "other"
        ]


def test_a_token_that_has_ended_opens_nothing(running: Service) -> None:
    tokens = tokens_of(running.store)
    expired, _ = tokens.create("admin", lifetime_s=1e-6)
    revoked, _ = tokens.create("admin")
    tokens.revoke(revoked)
    with pytest.raises(Unauthenticated):
        tokens.authenticate(expired)
    for secret in (expired, revoked, "evt_", "\xff"):
        bearer = {"Authorization": f"Bearer {secret}".encode("latin-1")}
        answer = httpx.get(f"{running.url}/api/v1/studies", headers=bearer)
        assert (answer.status_code, refused(answer)["field"]) == (401, "Authorization")


# --- text stays text ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_text_comes_back_as_text(name: str, running: Service, client: Any) -> None:
    number = study(running, name)
    path = f"/api/v1/studies/{number}"
    assert client.get(path).json()["record"]["name"] == name
    lease = post(client, f"{path}/claim", {"worker": name, "lease_s": 600}).json()["job"]
    fence = {key: lease[key] for key in ("member", "round", "attempt")}
    failure = {"kind": "raised", "message": name, "traceback": f"{name}\n\0\x1b[31m"}
    answer = post(client, f"{path}/fail", {**fence, "worker": name, "failure": failure})
    assert answer.status_code == 204
    assert post(client, f"{path}/stop", {"reason": name}).status_code == 204
    assert client.get(f"{path}/failures").json()["failures"][0]["message"] == name
    for page in ("/", f"/studies/{number}", f"/studies/{number}/jobs/{lease['job']}"):
        shown = client.get(page)
        assert shown.status_code == 200
        assert name in html.unescape(shown.text)
        assert "<script>alert" not in shown.text
    assert client.get(f"/studies/{number}", params={"q": name, "sort": "job"}).status_code == 200


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "\x1b[31m", "\u202ereversed", " a", "a" * 101])
def test_a_name_that_cannot_be_shown_is_refused(name: str, client: Any) -> None:
    answer = post(client, "/api/v1/studies", {"record": {**RECORD, "name": name}})
    assert refused(answer)["field"] == "name"


def test_nothing_was_written_outside_the_store(running: Service, tmp_path: Path) -> None:
    place = Path(running.store.url.removeprefix("sqlite:///")).parent
    found = [path.name for path in place.iterdir()]
    assert all(name.startswith("log.") for name in found), found
    assert not any(tmp_path.iterdir())

"""The OpenAPI document says what is served, and the service answers as it says."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from evolvent.store.connect import open_store
from tests.contract.crew import Crew
from tests.needs import needs
from tests.service.threaded import Service, service
from tests.settings import study_record
from tests.store.archive.studies import renamed

# isort: split
from starlette.routing import Route

from evolvent.service.api.routes import OPERATIONS, PREFIX, document
from evolvent.service.app import create_app
from evolvent.service.settings import ServiceSettings
from evolvent.store.archive.manifest import MEDIA_TYPE
from evolvent.store.codec.file_list import files_to_json
from evolvent.store.tokens import tokens_of

jsonschema = needs("jsonschema")

LINES = "application/x-ndjson"


@dataclass
class Client:
    """Asks, and checks every answer against the document."""

    running: Service
    study: int = 0
    asked: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.token = self.running.token()

    def ask(
        self,
        operation: str,
        body: Any = None,
        *,
        query: str = "",
        kind: str = "application/json",
        accept: str = "application/json",
        part: str | None = None,
        **path: Any,
    ) -> Any:
        """Send one request; return what is told, after holding it against the document."""
        method, template = operation.split(" ")
        self.asked.add(operation)
        where = template.format(study=self.study, **path) + query
        parts = urlsplit(self.running.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Accept": accept}
        if data is not None:
            headers["Content-Type"] = kind
        if part is not None:
            headers["Range"] = f"bytes={part}"
        connection.request(method, f"{PREFIX}{where}", data, headers)
        answer = connection.getresponse()
        told = answer.read()
        connection.close()
        said = answer.getheader("content-type", "").partition(";")[0]
        return self._checked(document()["paths"][PREFIX + template][method.lower()],
                             answer.status, said, told)  # fmt: skip

    def _checked(self, described: Any, status: int, said: str, told: bytes) -> Any:
        response = described["responses"].get(str(status))
        assert response is not None, f"{status} {told!r} is not in {described['operationId']}"
        if "$ref" in response:
            response = document()["components"]["responses"][response["$ref"].rpartition("/")[2]]
        if not told:
            assert "content" not in response
            return None
        content = response["content"][said]
        if said == "application/json":
            value = json.loads(told)
            check(value, content["schema"])
            return value
        if said == LINES:
            values = [json.loads(line) for line in told.splitlines()]
            for value in values:
                check(value, content["x-line"])
            return values
        return told


def check(value: Any, schema: Any) -> None:
    """Refuse a value that does not fit a schema of the document."""
    whole = {**schema, "components": document()["components"]}
    jsonschema.validate(value, whole, cls=jsonschema.Draft202012Validator)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    store = open_store(f"sqlite:///{tmp_path / 'log.db'}")
    with service(store) as running:
        yield Client(running)
    store.close()


def test_document_is_valid() -> None:
    validator = needs("jsonschema").Draft202012Validator
    for schema in document()["components"]["schemas"].values():
        validator.check_schema(schema)
    assert document()["openapi"].startswith("3.1")
    text = json.dumps(document())
    for name in set(re.findall(r"#/components/(\w+/\w+)", text)):
        group, _, member = name.partition("/")
        assert member in document()["components"][group]


def test_document_has_every_route_and_every_method_and_no_others() -> None:
    store = open_store("memory://")
    app = create_app(store, tokens=tokens_of(store), settings=ServiceSettings())
    served = {
        f"{method} {route.path.replace(':path', '')}"
        for route in app.routes
        if isinstance(route, Route) and route.path.startswith(PREFIX)
        for method in getattr(route.app, "methods", ())
        if method != "HEAD"
    }
    paths = document()["paths"]
    described = {f"{m.upper()} {path}" for path, methods in paths.items() for m in methods}
    assert served == described
    assert len({d["operationId"] for m in paths.values() for d in m.values()}) == len(described)
    store.close()


def test_every_operation_answers_as_it_is_described(client: Client) -> None:
    record = study_record(name="digits", rounds=4).to_json()
    client.study = client.ask("POST /studies", {"record": record, "key": "k"})["id"]
    client.ask("GET /studies")
    client.ask("GET /studies/named/{name}", name="digits")
    client.ask("GET /studies/{study}")
    fence = claim(client)
    address = upload(client)
    points = [{"step": 1, "values": {"loss": "NaN", "a": 0.5}}]
    client.ask("POST /studies/{study}/heartbeat", {**fence, "lease_s": 60, "points": points})
    result = {"score": 0.5, "metrics": {"accuracy": 0.5}, "checkpoint": address}
    client.ask("POST /studies/{study}/report", {**fence, **result})
    raised = {"kind": "raised", "message": "m", "traceback": None}
    client.ask("POST /studies/{study}/fail", {**claim(client), "failure": raised})
    claim(client)
    dead = {"worker": "w", "failure": {"kind": "lost", "message": "m"}}
    assert client.ask("POST /studies/{study}/release", dead) == {"released": 1}
    pushed = client.ask("POST /studies/{study}/push", {"hyperparameters": {"lr": 0.5}})
    assert pushed == {"job": "m3r0"}
    read(client, address)
    control(client)
    move(client)
    client.ask("GET /openapi.json")
    client.ask("DELETE /studies/{study}")
    assert [status.record.name for status in client.running.store.studies()] == ["line", "copy"]
    assert client.asked == {f"{o.method} {o.path}" for o in OPERATIONS}


def test_study_without_explore_is_told_with_the_steps_of_its_rounds(client: Client) -> None:
    record = {**study_record(rounds=10).to_json(), "algorithm": "PBT"}
    client.study = client.ask("POST /studies", {"record": record, "key": "k"})["id"]
    algorithm = client.ask("GET /studies/{study}")["record"]["algorithm"]
    perturb, resample = algorithm["explore"]
    assert (perturb["factors"], resample["probability"]) == ([0.622, 1.607], 0.25)
    assert algorithm["exploit"]["fraction"] == 0.25


def claim(client: Client) -> dict[str, Any]:
    lease = client.ask("POST /studies/{study}/claim", {"worker": "w", "lease_s": 60})
    return {"worker": "w", **{name: lease["job"][name] for name in ("member", "round", "attempt")}}


def upload(client: Client) -> str:
    local = client.running.store.checkpoints(client.study)
    staged = local.stage("other")
    (staged / "weights").write_bytes(b"weights")
    files = files_to_json(local.freeze(staged))  # type: ignore[attr-defined]  # it is local
    local.drop(staged)
    begun = client.ask("POST /studies/{study}/uploads", {"files": files})
    number = begun["upload"]
    client.ask("DELETE /studies/{study}/uploads/{upload}", upload=number)
    number = client.ask("POST /studies/{study}/uploads", {"files": files})["upload"]
    binary = {"kind": "application/octet-stream", "upload": number, "index": 0}
    client.ask(
        "PUT /studies/{study}/uploads/{upload}/files/{index}",
        b"weights",
        query="?offset=0",
        **binary,
    )
    client.ask("GET /studies/{study}/uploads/{upload}", upload=number)
    sealed = client.ask("POST /studies/{study}/uploads/{upload}/seal", upload=number)
    return str(sealed["address"])


def read(client: Client, address: str) -> None:
    for accept in ("application/json", LINES):
        client.ask("GET /studies/{study}/jobs", query="?state=done,queued&limit=9", accept=accept)
        client.ask("GET /studies/{study}/members", accept=accept)
        client.ask("GET /studies/{study}/points/{job}", job="m0r0", accept=accept)
        client.ask("GET /studies/{study}/failures", accept=accept)
        client.ask("GET /studies/{study}/interventions", query="?limit=9", accept=accept)
    client.ask("GET /studies/{study}/jobs/{job}", job="m0r0")
    client.ask("GET /studies/{study}/lineage/{job}", job="m0r0")
    client.ask("GET /studies/{study}/members/{member}/points", member=0)
    client.ask("GET /studies/{study}/scan", query="?columns=member,score,reason,metrics")
    client.ask("GET /studies/{study}/checkpoints/{address}", address=address)
    file = "GET /studies/{study}/checkpoints/{address}/files/{index}"
    assert client.ask(file, address=address, index=0) == b"weights"
    assert client.ask(file, address=address, index=0, part="2-") == b"ights"
    assert client.ask(file, address=address, index=0, part="9-")["error"]["field"] == "Range"


def control(client: Client) -> None:
    client.ask("POST /studies/{study}/pin", {"job": "m0r0"})
    assert client.ask("GET /studies/{study}/pins") == {"jobs": ["m0r0"]}
    client.ask("POST /studies/{study}/unpin", {"job": "m0r0"})
    client.ask("POST /studies/{study}/stop", {"reason": "lunch"})
    client.ask("POST /studies/{study}/resume")
    client.ask("POST /studies/{study}/extend", {"rounds": 9})
    client.ask("POST /studies/{study}/retarget", {"target": 2.0})
    client.ask("POST /studies/{study}/remember", {"trainable": "module:train"})
    client.ask("POST /studies/{study}/collect", {})


def move(client: Client) -> None:
    """Move a job to an ancestor, and a study to another name."""
    crew = Crew(client.running.store, name="line", population=1, rounds=9)
    for score in (0.9, 0.1):
        crew.train(score)
    lease, before = crew.claim("w"), client.study
    client.study = crew.id
    fence = {"member": 0, "round": 2, "attempt": lease.attempt, "worker": "w"}
    client.ask("POST /studies/{study}/reparent", {**fence, "parent": "m0r0", "reason": "damaged"})
    archive = client.ask("GET /studies/{study}/dump", query="?checkpoints=kept", accept=MEDIA_TYPE)
    client.ask("POST /restore", renamed(archive, "copy"), kind=MEDIA_TYPE)
    client.study = before

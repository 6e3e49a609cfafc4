"""Who may do what, route by route: everything that is served stands in this table."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import evolvent as ev
from evolvent.errors import Forbidden
from evolvent.store.connect import open_store
from evolvent.store.tokens import ROLES, tokens_of
from tests.service import asgi

# isort: split
from starlette.routing import Route

from evolvent.service.access import PAGES, guarded
from evolvent.service.api.routes import OPERATIONS, PREFIX
from evolvent.service.app import create_app
from evolvent.service.auth.roles import Identity, Role
from evolvent.service.settings import ServiceSettings

TABLE = {
    "GET /health": None,
    "GET /sign-in": None,
    "POST /sign-in": None,
    "GET /": "viewer",
    "POST /sign-out": "viewer",
    "GET /static/figures.lib.js": "viewer",
    "GET /static/{version}/{name}": "viewer",
    "GET /studies/{study}": "viewer",
    "GET /studies/{study}/figures/{kind}": "viewer",
    "GET /studies/{study}/jobs.csv": "viewer",
    "GET /studies/{study}/jobs/{job}": "viewer",
    "GET /studies/{study}/jobs/{job}/points": "viewer",
    "GET /api/v1/openapi.json": "viewer",
    "GET /api/v1/studies": "viewer",
    "GET /api/v1/studies/named/{name}": "viewer",
    "GET /api/v1/studies/{study}": "viewer",
    "GET /api/v1/studies/{study}/checkpoints/{address}": "viewer",
    "GET /api/v1/studies/{study}/checkpoints/{address}/files/{index}": "viewer",
    "GET /api/v1/studies/{study}/dump": "viewer",
    "GET /api/v1/studies/{study}/failures": "viewer",
    "GET /api/v1/studies/{study}/interventions": "viewer",
    "GET /api/v1/studies/{study}/jobs": "viewer",
    "GET /api/v1/studies/{study}/jobs/{job}": "viewer",
    "GET /api/v1/studies/{study}/lineage/{job}": "viewer",
    "GET /api/v1/studies/{study}/members": "viewer",
    "GET /api/v1/studies/{study}/members/{member}/points": "viewer",
    "GET /api/v1/studies/{study}/pins": "viewer",
    "GET /api/v1/studies/{study}/points/{job}": "viewer",
    "GET /api/v1/studies/{study}/scan": "viewer",
    "POST /api/v1/studies/{study}/claim": "worker",
    "POST /api/v1/studies/{study}/collect": "worker",
    "POST /api/v1/studies/{study}/fail": "worker",
    "POST /api/v1/studies/{study}/heartbeat": "worker",
    "POST /api/v1/studies/{study}/release": "worker",
    "POST /api/v1/studies/{study}/reparent": "worker",
    "POST /api/v1/studies/{study}/report": "worker",
    "POST /api/v1/studies/{study}/uploads": "worker",
    "GET /api/v1/studies/{study}/uploads/{upload}": "worker",
    "DELETE /api/v1/studies/{study}/uploads/{upload}": "worker",
    "PUT /api/v1/studies/{study}/uploads/{upload}/files/{index}": "worker",
    "POST /api/v1/studies/{study}/uploads/{upload}/seal": "worker",
    "POST /studies/{study}/{action}": "admin",
    "POST /api/v1/restore": "admin",
    "POST /api/v1/studies": "admin",
    "DELETE /api/v1/studies/{study}": "admin",
    "POST /api/v1/studies/{study}/extend": "admin",
    "POST /api/v1/studies/{study}/pin": "admin",
    "POST /api/v1/studies/{study}/push": "admin",
    "POST /api/v1/studies/{study}/remember": "admin",
    "POST /api/v1/studies/{study}/resume": "admin",
    "POST /api/v1/studies/{study}/retarget": "admin",
    "POST /api/v1/studies/{study}/stop": "admin",
    "POST /api/v1/studies/{study}/unpin": "admin",
}
"""The least role for each; None: no token is needed."""

MINE, OTHERS, UNKNOWN = 1, 2, 999
PLACES = {
    "name": "mine", "job": "m0r0", "member": "0", "address": "0" * 64, "index": "0",
    "upload": "0" * 32, "version": "0", "kind": "scores", "action": "stop",
}  # fmt: skip
BODIES = {"claim": {"worker": "w", "lease_s": 5}}
REFUSED = (401, 403)


class Place:
    """A service with two studies, and tokens for everybody."""

    def __init__(self) -> None:
        self.store = open_store("memory://")
        for name in ("mine", "others"):
            space = {"lr": ev.LogUniform(1e-4, 1)}
            settings: dict[str, Any] = {"metric": "score", "mode": "max", "rounds": 2}
            ev.create_study(name, space=space, population=2, store=self.store, **settings)
        self.tokens = tokens_of(self.store)
        self.app = create_app(self.store, tokens=self.tokens, settings=ServiceSettings())
        self.client = asgi.client(self.app)

    def answer(self, line: str, headers: dict[str, str], *, study: int = MINE) -> Any:
        method, path = line.split(" ")
        path = path.format(study=study, **PLACES)
        body = BODIES.get(path.rpartition("/")[2])
        return self.client.request(method, path, headers=headers, json=body)

    def bearer(self, role: Any, study: str | None = None) -> dict[str, str]:
        secret, _ = self.tokens.create(role, study=study)
        return {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.store.close()


def served(place: Place) -> set[str]:
    """Return a line for every method of every route of the application."""
    lines = set()
    for route in place.app.routes:
        assert isinstance(route, Route), f"{route} hides its routes from the table"
        path = route.path.replace(":path}", "}")
        its = getattr(route.endpoint, "methods", None) or route.methods
        assert its, f"{path} does not say which methods it has"
        lines |= {f"{method} {path}" for method in its if method not in ("HEAD", "OPTIONS")}
    return lines


def test_every_route_stands_in_the_table_and_every_line_is_served(place: Place) -> None:
    assert served(place) == set(TABLE)


def test_the_service_has_the_same_table() -> None:
    roles = {**PAGES, **{f"{o.method} {PREFIX}{o.path}": o.role for o in OPERATIONS}}
    named = {line: role and role.name.lower() for line, role in roles.items()}
    assert named == TABLE


@pytest.mark.parametrize("line", TABLE)
def test_a_role_may_do_what_its_line_says_and_those_below_may_not(line: str, place: Place) -> None:
    needed = TABLE[line]
    nobody = place.answer(line, {})
    assert (nobody.status_code in REFUSED) == (needed is not None or line == "POST /sign-in")
    for rank, role in enumerate(ROLES):
        answer = place.answer(line, place.bearer(role))
        allowed = needed is None or rank >= ROLES.index(needed)  # type: ignore[arg-type]
        if line == "POST /sign-in":  # no token in the form
            assert answer.status_code == 401
        else:
            assert (answer.status_code != 403) == allowed, f"{line} as {role}: {answer.text}"
            assert answer.status_code != 401


@pytest.mark.parametrize("line", [line for line in TABLE if "{study}" in line])
def test_a_token_for_one_study_sees_of_others_what_it_sees_of_none(line: str, place: Place) -> None:
    headers = place.bearer("admin", study="mine")
    other = place.answer(line, headers, study=OTHERS)
    unknown = place.answer(line, headers, study=UNKNOWN)
    mine = place.answer(line, headers)
    assert other.status_code == unknown.status_code == 404
    assert other.text == unknown.text.replace(str(UNKNOWN), str(OTHERS))
    assert "others" not in other.text
    assert mine.status_code not in REFUSED
    assert "no study" not in mine.text


def test_a_token_for_one_study_lists_and_finds_that_one_only(place: Place) -> None:
    headers = place.bearer("admin", study="mine")
    listed = place.client.get("/api/v1/studies", headers=headers)
    assert [it["record"]["name"] for it in listed.json()["studies"]] == ["mine"]
    assert place.client.get("/api/v1/studies/named/mine", headers=headers).status_code == 200
    other = place.client.get("/api/v1/studies/named/others", headers=headers)
    unknown = place.client.get("/api/v1/studies/named/unknown", headers=headers)
    assert other.status_code == unknown.status_code == 404
    assert other.text == unknown.text.replace("unknown", "others")


def test_a_token_for_one_study_makes_no_other(place: Place) -> None:
    headers = place.bearer("admin", study="mine")
    answer = place.client.post("/api/v1/studies", json={"record": {}}, headers=headers)
    assert answer.status_code == 403
    assert "is for study 'mine' only" in answer.json()["error"]["message"]


def test_a_token_for_a_study_that_is_gone_opens_nothing(place: Place) -> None:
    headers = place.bearer("admin", study="mine")
    place.store.delete_study(MINE)
    assert place.client.get("/api/v1/studies", headers=headers).json() == {"studies": []}
    assert place.client.get(f"/api/v1/studies/{MINE}", headers=headers).status_code == 404


def test_a_route_that_is_not_in_the_table_is_not_served() -> None:
    async def extra(request: object) -> None: ...

    with pytest.raises(LookupError, match="'GET /extra' is not in the table"):
        guarded([Route("/extra", extra)])


def test_a_role_is_asked_for_before_the_route_does_anything() -> None:
    async def act(request: object) -> None:
        raise AssertionError("it was let through")

    (route,) = guarded([Route("/studies/{study}/{action}", act, methods=["POST"])])
    who = Identity(Role.WORKER, None, "lab")
    scope = {"type": "http", "method": "POST", "headers": [], "state": {"identity": who}}
    with pytest.raises(Forbidden, match="'lab' has the role worker: this needs admin"):
        asyncio.run(route.app(scope, None, None))  # type: ignore[arg-type]


HTML = {"Accept": "text/html,application/xhtml+xml"}


def test_a_form_that_is_refused_is_answered_with_a_page(place: Place) -> None:
    path = f"/studies/{MINE}/stop"
    refused = place.client.post(path, headers={**place.bearer("viewer"), **HTML})
    assert (refused.status_code, refused.headers["content-type"][:9]) == (403, "text/html")
    assert "this needs admin" in refused.text
    secret, _ = place.tokens.create("admin")
    place.client.post("/sign-in", data={"token": secret})
    stale = place.client.post(path, data={"csrf": "0" * 64}, headers=HTML)
    assert (stale.status_code, stale.headers["content-type"][:9]) == (403, "text/html")
    assert "<h1>Not allowed</h1>" in stale.text
    assert "reload the page and repeat" in stale.text
    plain = place.client.post(path, data={"csrf": "0" * 64})
    assert plain.headers["content-type"] == "application/json"
    api = place.client.post(f"/api/v1{path}", headers={**place.bearer("viewer"), **HTML})
    assert (api.status_code, api.headers["content-type"]) == (403, "application/json")
    assert place.store.status(MINE).stopped is None

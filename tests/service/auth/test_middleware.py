"""The gate: who passes, who is sent away and with which words, and what a browser is held to."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest

from evolvent.errors import EvolventError
from evolvent.store.connect import open_store
from evolvent.store.tokens import RoleName, Tokens, tokens_of
from tests.service import asgi

# isort: split
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from evolvent.service.auth import sign_in
from evolvent.service.auth.authenticator import Authenticator
from evolvent.service.auth.middleware import AuthMiddleware
from evolvent.service.settings import ServiceSettings
from evolvent.service.web.errors import to_response
from evolvent.service.web.security_headers import SecurityHeaders
from evolvent.service.web.threads import StoreThreads

UNKNOWN = "evt_" + "A" * 43
Client: TypeAlias = Any  # of httpx

BROWSER = {"Accept": "text/html,application/xhtml+xml"}


class Clock:
    """A clock that the test winds."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Place:
    """A service of three routes behind the gate, and what a test does to it."""

    def __init__(self) -> None:
        self.store = open_store("memory://")
        self.tokens: Tokens = tokens_of(self.store)
        self.clock = Clock()
        self.threads = StoreThreads()
        authenticator = Authenticator(
            self.tokens, ServiceSettings(), self.threads, clock=self.clock
        )
        self.app = Starlette(
            routes=[
                Route("/health", _health),
                Route("/who", _who),
                Route("/change", _change, methods=["POST"]),
                *sign_in.routes(authenticator),
            ],
            middleware=[
                Middleware(SecurityHeaders),
                Middleware(AuthMiddleware, authenticator=authenticator),
            ],
            exception_handlers={EvolventError: _told},
        )

    def client(self, *, address: str = "10.0.0.1", tls: bool = False) -> Client:
        return asgi.client(self.app, address=address, tls=tls)

    def bearer(self, role: RoleName = "viewer", **settings: Any) -> dict[str, str]:
        secret, _ = self.tokens.create(role, **settings)
        return {"Authorization": f"Bearer {secret}"}

    def signed_in(self, role: RoleName = "admin", **settings: Any) -> tuple[Client, str]:
        """Return a browser that has signed in, and what its forms must carry."""
        secret, _ = self.tokens.create(role, **settings)
        client = self.client()
        assert client.post("/sign-in", data={"token": secret}).status_code == 303
        return client, client.get("/who").json()["csrf"]


async def _health(request: Request) -> Response:
    return PlainTextResponse("ok")


async def _who(request: Request) -> Response:
    who = request.state.identity
    told = {"role": who.role.name, "study": who.study, "name": who.name}
    return JSONResponse({**told, "csrf": request.state.csrf})


async def _change(request: Request) -> Response:
    return PlainTextResponse(await request.body())


async def _told(request: Request, error: Exception) -> Response:
    return to_response(error)


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.threads.close()
    place.store.close()


# --- programs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/who", "/", "/nowhere", "/health/", "/static/app.css", "//health"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
def test_nothing_passes_without_a_token(method: str, path: str, place: Place) -> None:
    response = place.client().request(method, f"http://host:8080{path}")
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"


def test_the_health_check_needs_none(place: Place) -> None:
    assert place.client().get("/health").text == "ok"
    assert place.client().head("/health").status_code == 200
    assert place.client().post("/health").status_code == 401


def test_a_token_says_who_is_asking(place: Place) -> None:
    told = place.client().get("/who", headers=place.bearer("worker", study="digits", name="lab"))
    assert told.json() == {"role": "WORKER", "study": "digits", "name": "lab", "csrf": ""}


def test_a_program_needs_no_csrf_token(place: Place) -> None:
    sent = place.client().post("/change", headers=place.bearer("admin"), content="x")
    assert (sent.status_code, sent.text) == (200, "x")


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", f"Basic {UNKNOWN}", UNKNOWN, f"Bearer {UNKNOWN}", "Bearer evt_é"],
)
def test_what_is_no_token_is_refused_in_the_shape_of_all_errors(
    authorization: str, place: Place
) -> None:
    headers = {"Authorization": authorization.encode("latin-1", "replace")}
    response = place.client().get("/who", headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "Unauthenticated"


@pytest.mark.parametrize("end", ["expired", "revoked"])
def test_a_token_that_is_over_is_refused_at_once_and_told_why(end: str, place: Place) -> None:
    client = place.client()
    if end == "expired":
        headers = place.bearer(lifetime_s=1e-9)
    else:
        headers = place.bearer()
        assert client.get("/who", headers=headers).status_code == 200
        place.tokens.revoke(place.tokens.list()[0].id)
    response = client.get("/who", headers=headers)
    assert response.status_code == 401
    assert f"is {end}" in response.json()["error"]["message"]


def test_a_refusal_never_repeats_the_token(place: Place) -> None:
    response = place.client().get("/who", headers={"Authorization": f"Bearer {UNKNOWN}"})
    assert UNKNOWN not in response.text


def test_a_store_that_takes_long_to_ask_knows_the_same(place: Place) -> None:
    place.tokens.is_local = False
    client, _ = place.signed_in()
    assert client.get("/who").json()["role"] == "ADMIN"
    assert client.get("/who", headers=place.bearer("worker")).json()["role"] == "WORKER"
    assert fail(client, times=1) == [401]


# --- rate limit --------------------------------------------------------------------------------


def fail(client: Client, *, times: int) -> list[int]:
    """Send wrong tokens; return the answers' statuses."""
    guesses = (f"evt_{n:043}" for n in range(times))
    return [
        client.get("/who", headers={"Authorization": f"Bearer {guess}"}).status_code
        for guess in guesses
    ]


def test_wrong_tokens_are_held_back_after_ten(place: Place) -> None:
    client = place.client()
    assert fail(client, times=12) == [401] * 10 + [429] * 2
    response = client.get("/who", headers={"Authorization": f"Bearer {UNKNOWN}"})
    assert response.headers["retry-after"] == "6"
    assert "wait 6 s" in response.json()["error"]["message"]


def test_it_goes_on_after_the_time_that_was_said(place: Place) -> None:
    client = place.client()
    fail(client, times=10)
    place.clock.now += 5.9
    assert fail(client, times=1) == [429]
    place.clock.now += 0.2
    assert fail(client, times=2) == [401, 429]
    place.clock.now += 60
    assert fail(client, times=11) == [401] * 10 + [429]


def test_other_addresses_are_not_held_back(place: Place) -> None:
    fail(place.client(address="10.0.0.1"), times=20)
    assert fail(place.client(address="10.0.0.2"), times=1) == [401]
    headers = place.bearer()
    assert place.client(address="10.0.0.2").get("/who", headers=headers).status_code == 200


def test_right_tokens_pass_whatever_their_neighbours_send(place: Place) -> None:
    client, known = place.client(), place.bearer()
    assert client.get("/who", headers=known).status_code == 200
    fail(client, times=12)
    never_seen = place.bearer()
    for right in (known, never_seen):
        assert client.get("/who", headers=right).status_code == 200


@pytest.mark.parametrize("end", ["expired", "revoked"])
def test_a_token_that_is_over_is_held_back_with_the_wrong_ones(end: str, place: Place) -> None:
    client = place.client()
    headers = place.bearer(lifetime_s=1e-9 if end == "expired" else None)
    fail(client, times=10)
    if end == "revoked":
        assert client.get("/who", headers=headers).status_code == 200
        place.tokens.revoke(place.tokens.list()[0].id)
        assert client.get("/who", headers=headers).status_code == 401  # it was right till now
    held = client.get("/who", headers=headers)
    assert held.status_code == 429
    assert "expired or revoked" in held.json()["error"]["message"]


def test_wrong_tokens_that_are_held_back_are_not_looked_up(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(place.client(), times=10)
    looked: list[str] = []
    monkeypatch.setattr(place.tokens, "_find", looked.append)
    assert fail(place.client(), times=3) == [429] * 3
    assert looked == []


def test_addresses_that_fail_a_little_each_are_held_back_together(place: Place) -> None:
    failed = [fail(place.client(address=f"10.0.1.{n}"), times=5) for n in range(41)]
    assert failed == [[401] * 5] * 40 + [[429] * 5]
    assert place.client().get("/who", headers=place.bearer()).status_code == 200
    place.clock.now += 0.1
    assert fail(place.client(), times=3) == [401] * 2 + [429]


def test_the_addresses_of_one_ipv6_customer_count_as_one(place: Place) -> None:
    fail(place.client(address="2001:db8:0:1::1"), times=10)
    assert fail(place.client(address="2001:db8:0:1:ffff::2"), times=1) == [429]
    assert fail(place.client(address="2001:db8:0:2::1"), times=1) == [401]


def test_wrong_sign_ins_are_held_back_and_right_ones_never(place: Place) -> None:
    client = place.client()
    answers = [client.post("/sign-in", data={"token": UNKNOWN}).status_code for _ in range(11)]
    assert answers == [401] * 10 + [429]
    held = client.post("/sign-in", data={"token": UNKNOWN})
    assert held.headers["retry-after"] == "6"
    assert "wait 6 s" in held.text
    right, _ = place.tokens.create("viewer")
    assert client.post("/sign-in", data={"token": right}).status_code == 303
    assert client.get("/who").json()["role"] == "VIEWER"


# --- browsers ----------------------------------------------------------------------------------


def test_a_browser_without_a_cookie_is_led_to_the_sign_in_and_back(place: Place) -> None:
    client = place.client()
    secret, _ = place.tokens.create("viewer")
    led = client.get("/who?a=1&b=2", headers=BROWSER)
    assert led.status_code == 303
    assert led.headers["location"] == "/sign-in?next=%2Fwho%3Fa%3D1%26b%3D2"
    page = client.get(led.headers["location"])
    (there,) = re.findall(r'name="next" value="([^"]*)"', page.text)
    assert there == "/who?a=1&amp;b=2"
    done = client.post("/sign-in", data={"token": f" {secret}\n", "next": "/who?a=1&b=2"})
    assert (done.status_code, done.headers["location"]) == (303, "/who?a=1&b=2")
    assert client.get("/who").json()["role"] == "VIEWER"
    assert client.get("/sign-in?next=/who").headers["location"] == "/who"


def test_a_form_of_a_page_that_was_open_for_too_long_leads_to_the_sign_in(place: Place) -> None:
    client, csrf = place.signed_in()
    place.tokens.revoke(place.tokens.list()[0].id)
    led = client.post("/change", data={"csrf": csrf}, headers=BROWSER)
    assert (led.status_code, led.headers["location"]) == (303, "/sign-in?next=%2F")


@pytest.mark.parametrize("tls", [False, True])
def test_the_cookie_is_held_close_and_is_not_the_token(tls: bool, place: Place) -> None:
    secret, _ = place.tokens.create("viewer")
    cookie = place.client(tls=tls).post("/sign-in", data={"token": secret}).headers["set-cookie"]
    attributes = cookie.lower().split("; ")
    assert {"httponly", "samesite=strict", "path=/", "max-age=43200"} <= set(attributes)
    assert ("secure" in attributes) is tls
    assert cookie.startswith("__Host-evolvent-8080=" if tls else "evolvent-8080=")
    assert "domain" not in cookie.lower()
    assert secret not in cookie


@pytest.mark.parametrize(
    "there",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)",
     "evil.example", "/a\r\nSet-Cookie: a=b", "\t//evil.example", "//[", ""],
)  # fmt: skip
def test_the_way_back_never_leads_elsewhere(there: str, place: Place) -> None:
    secret, _ = place.tokens.create("viewer")
    done = place.client().post("/sign-in", data={"token": secret, "next": there})
    assert (done.status_code, done.headers["location"]) == (303, "/")


def test_a_wrong_token_is_told_on_the_page_and_what_was_asked_for_is_text(place: Place) -> None:
    page = place.client().post(
        "/sign-in", data={"token": '"><script>', "next": '/"><script>alert(1)</script>'}
    )
    assert page.status_code == 401
    assert "the token is not known here" in page.text
    assert "<script" not in page.text


def test_the_page_can_be_shown_with_nothing_but_itself(place: Place) -> None:
    page = place.client().get("/sign-in")
    assert not re.findall(r'(?:src|href|url)="(?!data:)', page.text)
    policy = page.headers["content-security-policy"]
    assert re.search(r"style-src 'sha256-[A-Za-z0-9+/=]+'", policy)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_a_link_from_another_site_loads_once_more_so_that_the_cookie_counts(place: Place) -> None:
    page = place.client().get("/sign-in?next=/who", headers={"Sec-Fetch-Site": "cross-site"})
    assert '<meta http-equiv="refresh" content="0;url=/sign-in?next=%2Fwho">' in page.text
    again = place.client().get("/sign-in?next=/who", headers={"Sec-Fetch-Site": "same-origin"})
    assert "refresh" not in again.text


def test_a_browser_that_signs_out_is_out(place: Place) -> None:
    client, csrf = place.signed_in()
    cookies = dict(client.cookies)
    left = client.post("/sign-out", data={"csrf": csrf})
    assert (left.status_code, left.headers["location"]) == (303, "/sign-in")
    assert "evolvent-8080" not in client.cookies
    client.cookies.update(cookies)  # also when the browser had kept it
    assert client.get("/who").status_code == 401


def test_a_browser_is_out_when_its_token_is_revoked(place: Place) -> None:
    client, _ = place.signed_in()
    place.tokens.revoke(place.tokens.list()[0].id)
    assert client.get("/who").status_code == 401


def test_a_wrong_token_beats_a_good_cookie(place: Place) -> None:
    client, _ = place.signed_in()
    headers = {"Authorization": f"Bearer {UNKNOWN}"}
    assert client.get("/who", headers=headers).status_code == 401


def test_cookies_that_are_over_are_led_to_the_sign_in_and_not_looked_up_for_ever(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = place.client()
    client.cookies.set("evolvent-8080", "evs_" + "A" * 43)
    assert [client.get("/who").status_code for _ in range(12)] == [401] * 12
    right, _ = place.signed_in()
    assert right.get("/who").status_code == 200
    looked: list[str] = []
    monkeypatch.setattr(place.tokens, "_find_session", looked.append)
    led = client.get("/who", headers=BROWSER)
    assert (led.status_code, led.headers["location"]) == (303, "/sign-in?next=%2Fwho")
    assert client.get("/sign-in").status_code == 200
    assert looked == []


# --- writes with a cookie ----------------------------------------------------------------------


def test_a_form_with_the_token_of_its_page_passes_whole(place: Place) -> None:
    client, csrf = place.signed_in()
    sent = client.post("/change", data={"a": "1", "csrf": csrf, "b": "é"})
    assert (sent.status_code, sent.text) == (200, f"a=1&csrf={csrf}&b=%C3%A9")


def test_a_script_sends_it_in_a_header(place: Place) -> None:
    client, csrf = place.signed_in()
    sent = client.post("/change", json={"a": 1}, headers={"X-CSRF-Token": csrf})
    assert (sent.status_code, sent.json()) == (200, {"a": 1})


@pytest.mark.parametrize("given", [None, "", "0" * 64, "é"])
@pytest.mark.parametrize("way", ["form", "header", "json"])
def test_a_write_without_it_is_refused(way: str, given: str | None, place: Place) -> None:
    client, _ = place.signed_in()
    fields = {} if given is None else {"csrf": given}
    match way:
        case "form":
            sent = client.post("/change", data=fields)
        case "header":
            headers = {} if given is None else {"X-CSRF-Token": given.encode()}
            sent = client.post("/change", json={}, headers=headers)
        case _:
            sent = client.post("/change", json=fields)
    assert sent.status_code == 403
    assert "X-CSRF-Token" in sent.json()["error"]["message"]


def test_the_token_of_another_browser_is_refused(place: Place) -> None:
    client, _ = place.signed_in()
    _, others = place.signed_in()
    assert client.post("/change", data={"csrf": others}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://host:8080"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://["},
        {"Origin": "http://host"},
        {"Origin": "null"},
    ],
)
@pytest.mark.parametrize("path", ["/change", "/sign-in", "/sign-out"])
def test_what_another_site_makes_a_browser_send_is_refused(
    path: str, headers: dict[str, str], place: Place
) -> None:
    client, csrf = place.signed_in()
    secret, _ = place.tokens.create("admin")
    sent = client.post(path, data={"csrf": csrf, "token": secret}, headers=headers)
    assert sent.status_code == 403
    assert next(iter(headers)) in sent.text
    assert sent.headers["content-type"].startswith("text/html") is (path == "/sign-in")


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://host:8080"}, {}]
)
def test_our_own_pages_pass(headers: dict[str, str], place: Place) -> None:
    client, csrf = place.signed_in()
    assert client.post("/change", data={"csrf": csrf}, headers=headers).status_code == 200


def test_a_huge_form_is_refused(place: Place) -> None:
    client, csrf = place.signed_in()
    for path in ("/change", "/sign-in"):
        assert client.post(path, data={"csrf": csrf, "a": "x" * 70_000}).status_code == 413
    assert client.post("/sign-in", content="&".join(["a=1"] * 300)).status_code == 422


# --- headers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health", "/who", "/nowhere", "/sign-in"])
def test_every_answer_forbids_what_is_not_ours_and_is_not_kept(path: str, place: Place) -> None:
    headers = place.client().get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    style = policy.pop("style-src")
    assert style == "'self'" or path == "/sign-in"
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


def test_websockets_are_closed(place: Place) -> None:
    sent: list[object] = []

    async def send(message: object) -> None:
        sent.append(message)

    asyncio.run(place.app({"type": "websocket", "path": "/who", "headers": []}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]

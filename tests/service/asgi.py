"""An httpx client for an application in this process: no socket, no server, no other thread."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.needs import needs

httpx = needs("httpx")
needs("starlette")


class AppTransport(httpx.BaseTransport):  # type: ignore[misc,name-defined]  # a module at run time
    """Hands each request to the application and waits for the whole answer.

    Args:
        app: of ASGI.
        address: where requests come from.
    """

    def __init__(self, app: Any, *, address: str = "10.0.0.1") -> None:
        self._app = app
        self._address = address

    def handle_request(self, request: Any) -> Any:
        body, url = request.read(), request.url
        path = url.raw_path.partition(b"?")[0]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": path,
            "root_path": "",
            "query_string": url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": (self._address, 5000),
            "server": (url.host, url.port),
            "state": {},
        }
        return asyncio.run(_answer(self._app, scope, body))


async def _answer(app: Any, scope: dict[str, Any], body: bytes) -> Any:
    sent: list[dict[str, Any]] = []
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if asked:
            await asyncio.Event().wait()  # the client stays, and sends nothing more
        asked = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *parts = sent
    content = b"".join(part.get("body", b"") for part in parts)
    return httpx.Response(start["status"], headers=start["headers"], content=content)


def client(app: Any, *, address: str = "10.0.0.1", tls: bool = False) -> Any:
    """Return a client that follows no redirects; it keeps cookies."""
    return httpx.Client(
        transport=AppTransport(app, address=address),
        base_url=f"http{'s' * tls}://host:8080",
        follow_redirects=False,
    )

"""The page where a person signs in with a token, once, and the way out."""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape
from importlib.resources import files
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from evolvent.errors import EvolventError
from evolvent.service.auth.authenticator import Authenticator
from evolvent.service.auth.csrf import check_origin, form_fields, read_form
from evolvent.service.auth.middleware import SIGN_IN
from evolvent.service.web.errors import to_response
from evolvent.service.web.security_headers import content_security_policy

SIGN_OUT = "/sign-out"

_HERE = files("evolvent.service.auth")
_PAGE = (_HERE / "sign_in.html").read_text("utf-8")
# Within the page, not linked from it: that would be one more thing to be had without a token.
_STYLE = (_HERE / "sign_in.css").read_text("utf-8")
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {"Content-Security-Policy": content_security_policy(style_src=f"'sha256-{_HASH}'")}


def routes(authenticator: Authenticator) -> list[Route]:
    """Return the routes of this file."""

    async def page(request: Request) -> Response:
        target = _local_path(request.query_params.get("next"))
        if await authenticator.authenticate_session(request) is not None:
            return RedirectResponse(target, status_code=303)
        # Somebody followed a link on another site, with which no strict cookie is sent: then the
        # page loads itself once more, as its own doing; with a cookie that leads on.
        from_elsewhere = request.headers.get("sec-fetch-site") == "cross-site"
        return _page(target, reload=from_elsewhere)

    async def sign_in(request: Request) -> Response:
        target = "/"
        try:
            check_origin(request.headers)
            form = form_fields(await read_form(request.headers, request.receive))
            target = _local_path(form.get("next"))
            response = RedirectResponse(target, status_code=303)
            await authenticator.sign_in(request, form.get("token", "").strip(), response)
        except EvolventError as e:
            return _page(target, error=e)
        return response

    async def sign_out(request: Request) -> Response:
        response = RedirectResponse(SIGN_IN, status_code=303)
        await authenticator.sign_out(request, response)
        return response

    return [
        Route(SIGN_IN, page, methods=["GET"]),
        Route(SIGN_IN, sign_in, methods=["POST"]),
        Route(SIGN_OUT, sign_out, methods=["POST"]),
    ]


def _page(target: str, *, error: EvolventError | None = None, reload: bool = False) -> Response:
    itself = f"{SIGN_IN}?next={quote(target, safe='')}"
    html = _PAGE.format(
        style=_STYLE,
        action=SIGN_IN,
        target=escape(target),
        alert=f'<p role="alert">{_as_html(str(error))}</p>\n' if error else "",
        reload=f'\n<meta http-equiv="refresh" content="0;url={escape(itself)}">' if reload else "",
    )
    if error is None:
        return HTMLResponse(html, 200, _HEADERS)
    refusal = to_response(error)
    wait = {name: value for name, value in refusal.headers.items() if name == "retry-after"}
    return HTMLResponse(html, refusal.status_code, _HEADERS | wait)


def _as_html(message: str) -> str:
    """Return a message as HTML, what stands in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(message))


def _local_path(target: str | None) -> str:
    """Return a path of this service to go on to, whatever was asked for."""
    if not target or not target.startswith("/") or not target.isprintable() or "\\" in target:
        return "/"
    return "/" if target.startswith("//") else target

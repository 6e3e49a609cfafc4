"""Pages as HTML: templates, how values are written, and the files that pages load."""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from evolvent.core.values import as_cell
from evolvent.display.words import NOTHING, compact, duration, size
from evolvent.errors import MissingExtra
from evolvent.service.auth.roles import Role, current_identity
from evolvent.service.web.errors import HttpError, to_response
from evolvent.validation import cut

try:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
except ImportError as e:
    raise MissingExtra("the dashboard needs jinja2: pip install 'evolvent[serve]'") from e

STATIC = "/static/{version}/{name}"
_FOREVER = "private, max-age=31536000, immutable"
_DIGITS = 4


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("evolvent.service.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "when": when,
        "span": span,
        "duration": duration,
        "size": size,
    }
    environment.globals |= {"static": static_url, "Role": Role}
    return environment


def page(
    request: Request, template: str, values: Mapping[str, Any], *, status: int = 200
) -> Response:
    """Return a page; not again what the browser has already.

    A page is known by what it says: its version stands on its root element, and is what the
    browser asks with when it looks whether anything has changed.
    """
    variables = {
        "identity": current_identity(request),
        "csrf": request.state.csrf,
        "path": request.url.path,
        **values,
    }
    html = _environment().get_template(template).render(variables)
    return unless_known(request, HTMLResponse(html, status))


def unless_known(request: Request, response: Response, version: str | None = None) -> Response:
    """Return an answer, or that the browser has it already; its hash is its version if none is."""
    version = version or hashlib.sha256(response.body).hexdigest()[:20]
    response.headers["ETag"] = f'"{version}"'
    known = request.headers.get("if-none-match") == response.headers["ETag"]
    return Response(status_code=304) if known else response


def error_page(request: Request, error: Exception) -> Response:
    """Return an error as a page, or as the API does to whoever takes no pages."""
    response = to_response(error)
    if "text/html" not in request.headers.get("accept", "text/html"):
        return response
    message = json.loads(bytes(response.body))["error"]["message"]
    values = {"status": response.status_code, "message": message}
    answer = page(request, "error.html", values, status=response.status_code)
    # What else the answer says, such as when to come again: all but what describes its JSON.
    of_body = ("content-type", "content-length")
    answer.headers.update({k: v for k, v in response.headers.items() if k not in of_body})
    return answer


def static_url(name: str) -> str:
    """Return the URL of a file; another one whenever any of the files has changed."""
    return STATIC.format(version=_files()[0], name=name)


def static_file(name: str) -> Response:
    """Return a file that pages load.

    Raises:
        HttpError: there is none of that name.
    """
    content = _files()[1].get(name)
    if content is None:
        raise HttpError(404, f"there is no file {cut(name)}", field="path")
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    kind = "text/javascript" if name.endswith(".js") else kind
    return Response(content, media_type=kind, headers={"Cache-Control": _FOREVER})


@cache
def _files() -> tuple[str, dict[str, bytes]]:
    folder = files("evolvent.service.dashboard") / "static"
    contents = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    joined = b"".join(name.encode() + contents[name] for name in sorted(contents))
    return hashlib.sha256(joined).hexdigest()[:16], contents


def number(value: Any) -> str:
    """Return a value of a hyperparameter or metric; nothing as a dash."""
    if value is None:
        return "\N{EN DASH}"
    value = as_cell(value)
    if isinstance(value, str):
        return value
    text = compact(value, digits=_DIGITS)
    return "NaN" if text == NOTHING else text.replace("-", "\N{MINUS SIGN}")


def when(seconds: float | None) -> str:
    """Return a time of the store's clock, in UTC, as an element that is never broken in two."""
    if seconds is None:
        return "\N{EN DASH}"
    at = datetime.fromtimestamp(seconds, UTC)
    words = Markup('<time datetime="{}">{}</time>')
    return words.format(at.isoformat(timespec="seconds"), at.strftime("%Y-%m-%d %H:%M:%S"))


def span(seconds: float | None) -> str:
    """Return how long something took; tenths below ten seconds."""
    if seconds is None:
        return "\N{EN DASH}"
    if seconds < 1:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)

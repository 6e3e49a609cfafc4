"""Whether a request that a browser sends with its cookie was meant by whoever sits before it.

Another site can make a browser send a request here, and can read neither the answer nor a page
of ours. So a write has to carry a token that only our pages know, and must not say that it comes
from elsewhere.
"""

from __future__ import annotations

import hmac
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import Message, Receive

from evolvent.errors import Forbidden
from evolvent.service.web.body import read_body
from evolvent.validation import cut, invalid

HEADER = "x-csrf-token"
FIELD = "csrf"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

_FORM = "application/x-www-form-urlencoded"
_MOST_FORM_BYTES = 1 << 16
_MOST_FIELDS = 200


def csrf_for(signed_in: str) -> str:
    """Return the token for the forms of one signed-in browser; the same until it signs out."""
    return hmac.digest(signed_in.encode(), b"evolvent csrf", "sha256").hex()


def check_origin(headers: Headers) -> None:
    """Refuse what says that another site has made the browser send it.

    Raises:
        Forbidden: names the header.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    # Only browsers set the first, and over plain HTTP they set none: then the second counts.
    if site is not None:
        if site != "same-origin":
            message = f"Sec-Fetch-Site: got {cut(site)}, wanted a request of our own page"
            raise Forbidden(message, field="Sec-Fetch-Site")
    elif origin is not None and origin.partition("://")[2] != headers.get("host"):
        message = f"Origin: got {cut(origin)}, wanted a request of our own page"
        raise Forbidden(message, field="Origin")


async def check_csrf(headers: Headers, receive: Receive, *, csrf: str) -> Receive:
    """Refuse a write that does not carry the browser's token.

    Returns:
        What to read the body from instead: looking for the field has used up `receive`.

    Raises:
        Forbidden: names what is missing.
    """
    check_origin(headers)
    sent = headers.get(HEADER)
    # Forms cannot set headers: their token is a field, and finding it uses up the body.
    if sent is None and headers.get("content-type", "").partition(";")[0].strip() == _FORM:
        body = await read_form(headers, receive)
        sent = form_fields(body).get(FIELD)
        receive = _replayed(body, receive)
    # In the same time wherever they differ: the time of an answer must not tell how much fits.
    if sent is None or not hmac.compare_digest(sent.encode(), csrf.encode()):
        message = "X-CSRF-Token: missing or not this page's: reload the page and repeat"
        raise Forbidden(message, field="X-CSRF-Token")
    return receive


async def read_form(headers: Headers, receive: Receive) -> bytes:
    """Return the body of a form, which must be as short as all of ours.

    Raises:
        HttpError: it is longer, or does not come.
    """
    return await read_body(headers, receive, most=_MOST_FORM_BYTES)


def form_fields(body: bytes, *, most: int = _MOST_FIELDS) -> dict[str, str]:
    """Return the fields of a form; of several with one name the first.

    Raises:
        ConfigError: there are more than `most`.
    """
    text = body.decode("utf-8", "replace")
    try:
        fields = parse_qs(text, keep_blank_values=True, max_num_fields=most)
    except ValueError as e:
        raise invalid("body", f"got more than {most} fields, wanted a short form") from e
    return {name: values[0] for name, values in fields.items()}


def _replayed(body: bytes, receive: Receive) -> Receive:
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay

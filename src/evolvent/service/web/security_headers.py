"""What every answer tells a browser: run and load nothing that is not ours, and keep nothing."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
}


def content_security_policy(**changes: str) -> str:
    """Return the policy, with a few directives changed, such as `style_src="'sha256-…'"`."""
    changed = {name.replace("_", "-"): value for name, value in changes.items()}
    return "; ".join(f"{name} {value}" for name, value in (_POLICY | changed).items())


HEADERS = {
    "Content-Security-Policy": content_security_policy(),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for what does not know frame-ancestors
    # Tells other sites nothing. "no-referrer" would also make browsers send "Origin: null" with
    # our own forms, and that header is how plain HTTP tells our forms from those of others.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Set on every answer that does not set them itself."""


_RAW_HEADERS = {name.lower().encode(): value.encode() for name, value in HEADERS.items()}


class SecurityHeaders:
    """Middleware that completes the headers of every answer, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass a request on."""
        if scope["type"] != "http":
            return self.app(scope, receive, send)

        def complete(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                missing = dict(_RAW_HEADERS)
                for name, _ in message["headers"]:
                    missing.pop(name, None)
                message["headers"] = [*message["headers"], *missing.items()]
            return send(message)

        return self.app(scope, receive, complete)

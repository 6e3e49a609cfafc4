"""The service put together: API, checkpoints, sign-in and dashboard over one store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from evolvent.errors import EvolventError
from evolvent.service.access import guarded
from evolvent.service.api import routes
from evolvent.service.api.endpoint import ApiContext
from evolvent.service.auth import sign_in
from evolvent.service.auth.authenticator import Authenticator
from evolvent.service.auth.middleware import AuthMiddleware, wants_page
from evolvent.service.dashboard import views
from evolvent.service.dashboard.render import error_page
from evolvent.service.settings import ServiceSettings
from evolvent.service.web.errors import HttpError, internal_error, to_response
from evolvent.service.web.security_headers import HEADERS, SecurityHeaders
from evolvent.service.web.threads import StoreThreads
from evolvent.store.protocol import Store
from evolvent.store.tokens import Tokens
from evolvent.validation import cut


def create_app(store: Store, *, tokens: Tokens, settings: ServiceSettings) -> Starlette:
    """Return the service as an ASGI application; whoever opened the store closes it.

    Its `app.state.stop_waiting()`, called in the loop in which it runs, sends home whoever waits
    for a job: the service stops.
    """
    threads = StoreThreads()
    context = ApiContext(store, settings, threads)
    authenticator = Authenticator(tokens, settings, threads)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        # First those who wait, then the threads that they would look in.
        context.claims.close()
        threads.close()

    app = Starlette(
        routes=[
            *routes.routes(context),  # each operation asks for its role itself
            *views.routes(context),
            *guarded([*sign_in.routes(authenticator), Route("/health", _health)]),
        ],
        # The headers are outside: what authentication refuses has them, too.
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(AuthMiddleware, authenticator=authenticator, refuse=_refusal),
        ],
        exception_handlers={
            HTTPException: _http_error,
            EvolventError: _error,
            Exception: _internal_error,
        },
        lifespan=lifespan,
    )
    # A path with a slash too many is told to be none, not sent to another.
    app.router.redirect_slashes = False
    app.state.stop_waiting = context.claims.close
    return app


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _http_error(request: Request, error: Exception) -> Response:
    """Answer what Starlette refuses: unknown routes, wrong methods."""
    assert isinstance(error, HTTPException)  # for which it stands in the table of handlers
    status, headers = error.status_code, dict(error.headers or {})
    if status != 404:
        message = f"method: got {request.method}, wanted {headers.get('Allow', 'another')}"
        return _refusal(request, HttpError(status, message, field="method", headers=headers))
    message = f"there is nothing at {cut(request.url.path, 200)}"
    return _refusal(request, HttpError(404, message, field="path"))


async def _error(request: Request, error: Exception) -> Response:
    return _refusal(request, error)


def _refusal(request: Request, error: Exception) -> Response:
    """Return an error: as a page where a person who has signed in waits for one."""
    is_page = wants_page(request) and not request.url.path.startswith(routes.PREFIX)
    known = hasattr(request.state, "identity")
    return error_page(request, error) if is_page and known else to_response(error)


async def _internal_error(_: Request, error: Exception) -> Response:
    response = internal_error(error)
    response.headers.update(HEADERS)  # it is answered outside of all middleware
    return response

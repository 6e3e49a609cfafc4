"""The dashboard: pages for people, on the same store and the same operations as the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from threading import Thread
from time import thread_time
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from evolvent.core.records import JobId
from evolvent.display.lost import lost_lines
from evolvent.errors import EvolventError
from evolvent.service.access import guarded
from evolvent.service.api.endpoint import ApiContext
from evolvent.service.api.operations import ApiRequest, is_whole, study_number
from evolvent.service.api.studies import visible
from evolvent.service.auth.csrf import form_fields, read_form
from evolvent.service.auth.roles import check_role, current_identity
from evolvent.service.dashboard.actions import ACTIONS, Action, Form
from evolvent.service.dashboard.column_cache import Columns
from evolvent.service.dashboard.figures import SHOWN, WIDTHS, Figures, library
from evolvent.service.dashboard.job import job_page
from evolvent.service.dashboard.query import Query
from evolvent.service.dashboard.render import STATIC, error_page, page, static_file, unless_known
from evolvent.service.dashboard.study import StudySummary, facts, summarize
from evolvent.service.dashboard.table import Table, cell, csv_blocks, csv_name
from evolvent.service.web.errors import to_response
from evolvent.service.web.streaming import StreamedResponse
from evolvent.store.records import StudyStatus
from evolvent.validation import cut, invalid

_Handler = Callable[[Request], Awaitable[Response]]
_MOST_FIELDS = 1000  # of a form: one for every hyperparameter
_MOST_KEPT = 4  # studies whose columns are kept
_STEP = 40  # pixels: figures are as wide as the page, in steps, so that many share one


def routes(context: ApiContext) -> list[Route]:
    """Return the routes of the dashboard."""
    views = DashboardViews(context)

    def in_thread(view: Callable[[Request], Response]) -> _Handler:
        return lambda request: context.threads.read(partial(view, request))

    study, job = "/studies/{study}", "/studies/{study}/jobs/{job}"
    pages: dict[str, _Handler] = {
        "/": in_thread(views.studies),
        study: in_thread(views.study),
        f"{study}/jobs.csv": views.csv,
        f"{study}/figures/{{kind}}": lambda request: context.threads.draw(
            partial(views.figure, request)
        ),
        job: in_thread(views.job),
        f"{job}/points": in_thread(views.points),
        "/static/figures.lib.js": in_thread(views.script),
        STATIC: views.static,
    }
    routes = [Route(path, _with_errors(page), methods=["GET"]) for path, page in pages.items()]
    routes.append(Route(f"{study}/{{action}}", _with_errors(views.act), methods=["POST"]))
    return guarded(routes)


class DashboardViews:
    """What every page needs."""

    def __init__(self, context: ApiContext) -> None:
        self._context, self._store, self._threads = context, context.store, context.threads
        # Millions of rows each: those of the few studies that were looked at last. A number that
        # was given out again, at another time, is another study.
        store = context.store  # not through us: what is in a cycle waits for the collector
        self._columns = lru_cache(_MOST_KEPT)(lambda id, _created_at: Columns(store, id))
        self._figures = Figures(context.store)
        self._warm = False

    def studies(self, request: Request) -> Response:
        """All studies."""
        newest_first = visible(self._store, current_identity(request))[::-1]
        deleted = request.query_params.get("done") == "delete"
        note = ACTIONS["delete"].done if deleted else None
        found = [StudySummary(status) for status in newest_first]
        return page(request, "studies.html", {"studies": found, "note": note})

    def study(self, request: Request, *, error: str = "", status: int = 200) -> Response:
        """One study: how it stands, its figures, its jobs."""
        self._warm_up()
        found = self._status(request)
        table = self._table(found)
        values = {
            **_about(found, request, error),
            "summary": summarize(self._store, found),
            "facts": facts(found),
            "figures": SHOWN,
            "lost": lost_lines(found, table.open),
            "table": table.page(Query.of(request.query_params)),
            "cell": lambda job, key: cell(job, key, found.record),
            "pins": self._store.pins(found.id),
        }
        return page(request, "study.html", values, status=status)

    def job(self, request: Request) -> Response:
        """One job."""
        self._warm_up()
        found = self._status(request)
        job = job_page(self._store, found, JobId.parse(request.path_params["job"]))
        return page(request, "job.html", {**job, **_about(found, request, "")})

    async def csv(self, request: Request) -> Response:
        """All jobs as a file."""

        def render() -> tuple[str, Any]:
            found = self._status(request)
            query = Query.of(request.query_params)
            return csv_name(found.record.name), csv_blocks(self._table(found), query)

        name, blocks = await self._threads.read(render)
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        stream = self._threads.stream(blocks)
        first = await anext(stream, b"")
        kind = "text/csv; charset=utf-8"
        return StreamedResponse(first, stream, media_type=kind, headers=headers)

    def figure(self, request: Request) -> Response:
        """A figure of a study, as a spec."""
        began = thread_time()
        kind, size = request.path_params["kind"], _size(request)
        answer = _spec(request, self._figures.spec(self._status(request), kind, **size))
        # So that pages of long studies ask more seldom: what was kept costs nothing.
        answer.headers["Server-Timing"] = f"cpu;dur={1000 * (thread_time() - began):.0f}"
        return answer

    def points(self, request: Request) -> Response:
        """What a job logged, as a spec."""
        job, size = JobId.parse(request.path_params["job"]), _size(request)
        return _spec(request, self._figures.points(self._status(request), job, **size))

    def script(self, request: Request) -> Response:
        """What draws the figures."""
        script, version = library()
        headers = {"Cache-Control": "private, no-cache"}
        response = Response(script, media_type="text/javascript", headers=headers)
        return unless_known(request, response, version)

    async def static(self, request: Request) -> Response:
        """A file that pages load."""
        return static_file(request.path_params["name"])

    async def act(self, request: Request) -> Response:
        """Do what a form asks for, then show the page again, with what came of it."""
        name = request.path_params["action"]
        action = ACTIONS.get(name)
        if action is None:
            raise invalid("action", f"got {cut(name)}, wanted one of {', '.join(ACTIONS)}")
        check_role(current_identity(request), action.operation.role)
        form = form_fields(await read_form(request.headers, request.receive), most=_MOST_FIELDS)
        try:
            await self._threads.run(
                action.operation.runs_in, lambda: self._do(request, action, form)
            )
        except EvolventError as e:
            error, status = str(e), to_response(e).status_code
            return await self._threads.read(lambda: self.study(request, error=error, status=status))
        number = study_number(request.path_params["study"])
        if action.operation.changes:
            self._context.claims.notify(number)
        return RedirectResponse(_next(number, name, form), status_code=303)

    def _do(self, request: Request, action: Action, form: Form) -> None:
        found = self._status(request)
        call = ApiRequest(
            store=self._store,
            settings=self._context.settings,
            identity=current_identity(request),
            base_url=str(request.base_url).rstrip("/"),
            path={"study": found.id},
            query=request.query_params,
        )
        self._context.check(action.operation, call)
        action.operation.call(call, action.body(form, found))

    def _status(self, request: Request) -> StudyStatus:
        """Return the study in the path, if whoever asks may know of it."""
        number = study_number(request.path_params["study"])
        self._context.check_study(current_identity(request), number)
        return self._store.status(number)

    def _table(self, status: StudyStatus) -> Table:
        return Table(self._store, status, self._columns(status.id, status.created_at))

    def _warm_up(self) -> None:
        """Make what draws the figures before the browser asks for it."""
        if not self._warm:
            self._warm = True
            Thread(target=_try_library, name="evolvent-figures", daemon=True).start()


def _try_library() -> None:
    with suppress(EvolventError):  # the request for it says what is missing
        library()


def _about(status: StudyStatus, request: Request, error: str) -> dict[str, Any]:
    """Return what the pages of a study and of its jobs have in common."""
    done = ACTIONS.get(request.query_params.get("done", ""))
    return {
        "study": status,
        "record": status.record,
        "note": None if done is None else done.done,
        "error": error,
        "here": f"/studies/{status.id}",
    }


def _with_errors(handler: _Handler) -> _Handler:
    """Return a handler that answers errors with a page."""

    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request)
        except Exception as e:  # noqa: BLE001 - every error has an answer
            return error_page(request, e)

    return endpoint


def _size(request: Request) -> dict[str, Any]:
    text, (least, most) = request.query_params.get("width", "760"), WIDTHS
    if not is_whole(text, most_digits=5):
        raise invalid("width", f"got {cut(text)}, wanted pixels, {least} to {most}")
    width = min(max(int(text), least), most)
    return {"width": width // _STEP * _STEP, "dark": request.query_params.get("dark") == "1"}


def _spec(request: Request, spec: bytes) -> Response:
    return unless_known(request, Response(spec, media_type="application/json"))


def _next(study: int, action: str, form: Mapping[str, str]) -> str:
    done = urlencode({"done": action})
    if action == "delete":
        return f"/?{done}"
    if action in {"pin", "unpin"}:
        return f"/studies/{study}/jobs/{JobId.parse(form['job'])}?{done}"
    return f"/studies/{study}?{done}"

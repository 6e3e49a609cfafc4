"""Whatever reads the log: pages for people, JSON lines for whoever wants all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.service.api.operations import ApiRequest, JsonCall, LinesCall
from evolvent.service.auth.roles import Role
from evolvent.store.codec import messages as m
from evolvent.store.codec.fields import SMALL, Schema
from evolvent.store.protocol import Store
from evolvent.store.records import JOB_COLUMNS, MemberView, Point
from evolvent.validation import MOST, cut, invalid

PAGE, MOST_ON_PAGE = 100, 10_000
_BATCH, _MANY = 1000, 10_000
_MOST_LOOKED_AT = 200_000
_FINISHED = (JobState.DONE, JobState.FAILED)

_STATES: Schema = {
    "type": "string",
    "description": "States with commas between them; all when left out.",
    "examples": ["done,failed"],
}
_AFTER: Schema = {**SMALL.schema, "description": "Leave out so many; `next` of the page before."}
_LIMIT: Schema = {
    **SMALL.schema, "description": "At most so many; 100 unless told, 10,000 at most."
}  # fmt: skip
_COLUMNS: Schema = {
    "type": "string",
    "description": f"Some of {', '.join(JOB_COLUMNS)}, with commas between them.",
    "examples": ["member,round,score"],
}

_Record = TypeVar("_Record")


def _page_limit(request: ApiRequest) -> int:
    return request.count("limit", PAGE, most=MOST_ON_PAGE)


def _words(request: ApiRequest, name: str) -> list[str]:
    return [word for text in request.query.getlist(name) for word in text.split(",") if word]


def _states(request: ApiRequest) -> frozenset[JobState]:
    """Return the states that the query names; all when it names none.

    Raises:
        ConfigError: one of them is none.
    """
    if "state" not in request.query:
        return frozenset(JobState)
    try:
        return frozenset(map(JobState, _words(request, "state")))
    except ValueError as e:
        wanted, got = ", ".join(JobState), request.query.getlist("state")
        raise invalid("state", f"got {cut(got)}, wanted some of {wanted}") from e


def _jobs_page(request: ApiRequest) -> m.LogPage[JobRecord]:
    """Return one page; positions run over the finished jobs, and on over the open ones."""
    after, limit, wanted = request.count("after"), _page_limit(request), _states(request)
    store, study = request.store, request.study
    status = store.status(study)
    n_finished = status.n_finished
    total = sum(status.counts[state] for state in wanted)
    # A page of few among many ends here, perhaps empty: `next` says where to go on.
    end = min(n_finished, after + _MOST_LOOKED_AT)
    finished = wanted.intersection(_FINISHED)
    jobs, at = _finished(store, study, finished, after=after, end=end, limit=limit)
    more = at < n_finished
    if not more:
        open_states = wanted - finished
        open_jobs = store.jobs(study, states=open_states) if open_states else []
        begin = max(0, at - n_finished)
        shown = open_jobs[begin : begin + limit - len(jobs)]
        jobs += shown
        at = n_finished + begin + len(shown)
        more = begin + len(shown) < len(open_jobs)
    return m.LogPage(jobs, at if more else None, total)


def _finished(
    store: Store, study: int, states: frozenset[JobState], *, after: int, end: int, limit: int
) -> tuple[list[JobRecord], int]:
    """Return up to `limit` jobs of the log from `after` to `end`, and where they end."""
    if not states:
        return [], max(after, end)
    if len(states) == len(_FINISHED):
        most = min(limit, max(0, end - after))
        jobs = store.jobs(study, states=_FINISHED, after=after, limit=most)
        return jobs, after + len(jobs)
    # Of one state: which they are is found without reading the others.
    jobs, at = [], after
    while at < end and len(jobs) < limit:
        size = min(end - at, _MANY)
        batch = store.scan(study, ("state", "member", "round"), after=at, limit=size)
        for state, member, round_ in batch:
            at += 1
            if state in states:
                jobs.append(store.job(study, JobId(member, round_)))
                if len(jobs) == limit:
                    return jobs, at
        if len(batch) < size:
            return jobs, end
    return jobs, at


def _jobs(request: ApiRequest) -> Iterator[JobRecord]:
    """Return all jobs, the end of the log and the open ones as of one instant."""
    wanted = _states(request)
    all_jobs = _in_batches(request.store, request.study, request.count("after"))
    return islice((j for j in all_jobs if j.state in wanted), request.count("limit", MOST))


def _in_batches(store: Store, study: int, at: int) -> Iterator[JobRecord]:
    while True:
        batch = store.jobs(study, after=at, limit=_BATCH)
        n_finished = sum(job.state in _FINISHED for job in batch)
        if n_finished < _BATCH:
            # The end of the log and the open jobs in one read: between two reads a job could be
            # reported, and be in neither or in both.
            yield from batch if len(batch) < _BATCH else store.jobs(study, after=at)
            return
        yield from batch
        at += _BATCH


def _scan(request: ApiRequest) -> Iterator[tuple[Any, ...]]:
    names = _words(request, "columns")
    unknown = [name for name in names if name not in JOB_COLUMNS]
    if unknown or not 0 < len(names) <= len(JOB_COLUMNS):
        got = unknown[0] if unknown else f"{len(names)} of them"
        raise invalid("columns", f"got {cut(got)}, wanted some of {', '.join(JOB_COLUMNS)}")
    columns = [column for name in names for column in JOB_COLUMNS if column == name]
    at, left = request.count("after"), request.count("limit", MOST)
    while True:
        size = min(_BATCH * 5, left)
        batch = request.store.scan(request.study, columns, after=at, limit=size)
        yield from batch
        at, left = at + len(batch), left - len(batch)
        if len(batch) < size or left == 0:
            return


def _paged(
    read: Callable[[ApiRequest], Sequence[_Record]],
) -> Callable[[ApiRequest], m.LogPage[_Record]]:
    """Return what reads one page of what `read` gives whole."""

    def page(request: ApiRequest) -> m.LogPage[_Record]:
        after, limit = request.count("after"), _page_limit(request)
        records = read(request)
        shown = records[after : after + limit]
        end = after + len(shown)
        return m.LogPage(shown, end if end < len(records) else None, len(records))

    return page


def _members(request: ApiRequest) -> list[MemberView]:
    return request.store.members(request.study)


def _points(request: ApiRequest) -> list[Point]:
    return request.store.points(request.study, request.path["job"])


_STUDY = "/studies/{study}"
_JOBS_QUERY = {"state": _STATES, "after": _AFTER, "limit": _LIMIT}
_PAGE_QUERY = {"after": _AFTER, "limit": _LIMIT}

OPERATIONS: tuple[JsonCall | LinesCall, ...] = (
    LinesCall(
        method="GET", path=f"{_STUDY}/jobs", role=Role.VIEWER, records=_jobs, page=_jobs_page,
        summary="Finished jobs in the order of their reports, then the open ones by member.",
        query=_JOBS_QUERY, reply=m.JOBS_PAGE, line=m.JOB,
    ),
    JsonCall(
        method="GET", path=f"{_STUDY}/jobs/{{job}}", role=Role.VIEWER, reply=m.JOB,
        run=lambda r: r.store.job(r.study, r.path["job"]), summary="One job.",
    ),
    LinesCall(
        method="GET", path=f"{_STUDY}/members", role=Role.VIEWER, records=_members,
        page=_paged(_members), summary="The newest and the open job of every member.",
        query=_PAGE_QUERY, reply=m.MEMBERS_PAGE, line=m.MEMBER,
    ),
    LinesCall(
        method="GET", path=f"{_STUDY}/members/{{member}}/points", role=Role.VIEWER,
        summary="The points of all jobs of a member: [round, step, values as JSON text].",
        records=lambda r: r.store.points_of(r.study, r.path["member"]), line=m.MEMBER_POINT,
    ),
    JsonCall(
        method="GET", path=f"{_STUDY}/lineage/{{job}}", role=Role.VIEWER,
        run=lambda r: r.store.lineage(r.study, r.path["job"]),
        summary="A job and its ancestors, round 0 first.", reply=m.JOBS,
    ),
    LinesCall(
        method="GET", path=f"{_STUDY}/points/{{job}}", role=Role.VIEWER, records=_points,
        page=_paged(_points), summary="What training logged within a job.", query=_PAGE_QUERY,
        reply=m.POINTS_PAGE, line=m.POINT,
    ),
    LinesCall(
        method="GET", path=f"{_STUDY}/failures", role=Role.VIEWER,
        records=lambda r: r.store.failures(r.study, limit=r.count("limit", PAGE)),
        page=lambda r: r.store.failures(r.study, limit=_page_limit(r)),
        summary="The newest failed attempts, the newest last.",
        query={"limit": _LIMIT}, reply=m.FAILURES, line=m.FAILED,
    ),
    LinesCall(
        method="GET", path=f"{_STUDY}/interventions", role=Role.VIEWER,
        records=lambda r: r.store.interventions(r.study, limit=r.count("limit", MOST)),
        page=lambda r: r.store.interventions(r.study, limit=_page_limit(r)),
        summary="What people did to a study, the newest last.",
        query={"limit": _LIMIT}, reply=m.INTERVENTIONS, line=m.INTERVENTION,
    ),
    JsonCall(
        method="GET", path=f"{_STUDY}/pins", role=Role.VIEWER, reply=m.JOB_IDS,
        run=lambda r: r.store.pins(r.study), summary="The jobs whose checkpoints are pinned.",
    ),
    LinesCall(
        method="GET", path=f"{_STUDY}/scan", role=Role.VIEWER, records=_scan,
        summary="Columns of the finished jobs: a JSON list a line.",
        query={"columns": _COLUMNS, "after": _AFTER, "limit": _LIMIT},
        needs=("columns",), line=m.ROW,
    ),
)  # fmt: skip

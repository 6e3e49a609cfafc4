"""Whatever reads the log: pages for people, JSON lines for whoever wants all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.service.api.operations import JsonCall, LinesCall
from evolvent.service.api.request import AFTER, COLUMNS, LIMIT, STATES, ApiRequest
from evolvent.service.auth.roles import Role
from evolvent.store.codec import messages as m
from evolvent.store.protocol import Store
from evolvent.store.records import JOB_COLUMNS, FailedAttempt, JobColumn, MemberView, Point
from evolvent.validation import invalid

PAGE, MOST_ON_PAGE = 100, 10_000
_BATCH, _MANY = 1000, 10_000
_MOST_LOOKED_AT = 200_000
_FINISHED = (JobState.DONE, JobState.FAILED)

_Record = TypeVar("_Record")


def _jobs_page(request: ApiRequest) -> m.LogPage[JobRecord]:
    after, states = request.count("after", 0) or 0, request.states()
    limit = request.count("limit", PAGE, most=MOST_ON_PAGE) or 0
    return _page(request.store, request.study, states, after, limit)


def _jobs(request: ApiRequest) -> Iterator[JobRecord]:
    after, states = request.count("after", 0) or 0, request.states()
    limit = request.count("limit", None)
    return _all_jobs(request.store, request.study, states, after, limit)


def _members(request: ApiRequest) -> list[MemberView]:
    return request.store.members(request.study)


def _points(request: ApiRequest) -> list[Point]:
    return request.store.points(request.study, request.path["job"])


def _failures_page(request: ApiRequest) -> list[FailedAttempt]:
    limit = request.count("limit", PAGE, most=MOST_ON_PAGE) or 0
    return request.store.failures(request.study, limit=limit)


def _failures(request: ApiRequest) -> list[FailedAttempt]:
    limit = request.count("limit", PAGE) or 0
    return request.store.failures(request.study, limit=limit)


def _scan(request: ApiRequest) -> Iterator[tuple[Any, ...]]:
    names = [name for text in request.query.getlist("columns") for name in text.split(",") if name]
    unknown = [name for name in names if name not in JOB_COLUMNS]
    if unknown or not 0 < len(names) <= len(JOB_COLUMNS):
        got = unknown[0] if unknown else f"{len(names)} of them"
        raise invalid("columns", f"got {got!r:.80}, wanted some of {', '.join(JOB_COLUMNS)}")
    columns = [column for name in names for column in JOB_COLUMNS if column == name]
    after, limit = request.count("after", 0) or 0, request.count("limit", None)
    return _rows(request.store, request.study, columns, after, limit)


def _paged(
    read: Callable[[ApiRequest], Sequence[_Record]],
) -> Callable[[ApiRequest], m.LogPage[_Record]]:
    """Return what reads one page of what `read` gives whole."""

    def page(request: ApiRequest) -> m.LogPage[_Record]:
        after = request.count("after", 0) or 0
        limit = request.count("limit", PAGE, most=MOST_ON_PAGE) or 0
        records = read(request)
        shown = records[after : after + limit]
        end = after + len(shown)
        return m.LogPage(shown, end if end < len(records) else None, len(records))

    return page


def _page(
    store: Store, study: int, states: Sequence[JobState] | None, after: int, limit: int
) -> m.LogPage[JobRecord]:
    """Return one page; positions run over the finished jobs, and on over the open ones."""
    status = store.status(study)
    n_finished = status.n_finished
    wanted = frozenset(JobState if states is None else states)
    total = sum(status.counts.get(state, 0) for state in wanted)
    # A page of few among many ends here, perhaps empty: `next` says where to go on.
    end = min(n_finished, after + _MOST_LOOKED_AT)
    jobs, at = _finished(store, study, wanted, after=after, end=end, limit=limit)
    more = at < n_finished
    if not more:
        open_states = [state for state in wanted if state not in _FINISHED]
        open_jobs = store.jobs(study, states=open_states) if open_states else []
        begin = max(0, at - n_finished)
        shown = open_jobs[begin : begin + limit - len(jobs)]
        jobs += shown
        at = n_finished + begin + len(shown)
        more = begin + len(shown) < len(open_jobs)
    return m.LogPage(jobs, at if more else None, total)


def _finished(
    store: Store, study: int, wanted: frozenset[JobState], *, after: int, end: int, limit: int
) -> tuple[list[JobRecord], int]:
    """Return up to `limit` wanted jobs of the log from `after` to `end`, and where they end."""
    finished = wanted.intersection(_FINISHED)
    if not finished:
        return [], max(after, end)
    if len(finished) == len(_FINISHED):
        jobs = store.jobs(
            study, states=_FINISHED, after=after, limit=min(limit, max(0, end - after))
        )
        return jobs, after + len(jobs)
    ids, at = _of_states(store, study, finished, after=after, end=end, limit=limit)
    return [store.job(study, job) for job in ids], at


def _of_states(
    store: Store, study: int, states: frozenset[JobState], *, after: int, end: int, limit: int
) -> tuple[list[JobId], int]:
    """Return which jobs of the log are in these states, without reading the others."""
    words = {state.value for state in states}
    ids: list[JobId] = []
    at = after
    while at < end and len(ids) < limit:
        size = min(end - at, _MANY)
        batch = store.scan(study, ("state", "member", "round"), after=at, limit=size)
        for state, member, round_ in batch:
            at += 1
            if state in words:
                ids.append(JobId(member, round_))
                if len(ids) == limit:
                    return ids, at
        if len(batch) < size:
            return ids, end
    return ids, at


def _all_jobs(
    store: Store, study: int, states: Sequence[JobState] | None, after: int, limit: int | None
) -> Iterator[JobRecord]:
    """Yield all jobs, the end of the log and the open ones as of one instant."""
    wanted = frozenset(JobState if states is None else states)
    jobs = (job for job in _in_batches(store, study, after) if job.state in wanted)
    return islice(jobs, limit)


def _in_batches(store: Store, study: int, after: int) -> Iterator[JobRecord]:
    at = after
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


def _rows(
    store: Store, study: int, columns: Sequence[JobColumn], after: int, limit: int | None
) -> Iterator[tuple[Any, ...]]:
    at, left = after, limit
    while True:
        size = _BATCH * 5 if left is None else min(_BATCH * 5, left)
        batch = store.scan(study, columns, after=at, limit=size)
        yield from batch
        at += len(batch)
        left = None if left is None else left - len(batch)
        if len(batch) < size or left == 0:
            return


_STUDY = "/studies/{study}"
_JOBS_QUERY = {"state": STATES, "after": AFTER, "limit": LIMIT}
_PAGE_QUERY = {"after": AFTER, "limit": LIMIT}

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
        method="GET", path=f"{_STUDY}/failures", role=Role.VIEWER, records=_failures,
        page=_failures_page, summary="The newest failed attempts, the newest last.",
        query={"limit": LIMIT}, reply=m.FAILURES, line=m.FAILED,
    ),
    JsonCall(
        method="GET", path=f"{_STUDY}/pins", role=Role.VIEWER, reply=m.JOB_IDS,
        run=lambda r: r.store.pins(r.study), summary="The jobs whose checkpoints are pinned.",
    ),
    LinesCall(
        method="GET", path=f"{_STUDY}/scan", role=Role.VIEWER, records=_scan,
        summary="Columns of the finished jobs: a JSON list a line.",
        query={"columns": COLUMNS, "after": AFTER, "limit": LIMIT},
        needs=("columns",), line=m.ROW,
    ),
)  # fmt: skip

"""Whatever reads the log: pages for people, JSON lines for whoever wants all of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.errors import ConfigError
from evolvent.service.api import schemas as s
from evolvent.service.api.request import ApiRequest, Operation, Stream
from evolvent.service.auth.roles import Role
from evolvent.store.codec import messages
from evolvent.store.protocol import Store
from evolvent.store.records import JOB_COLUMNS, JobColumn

PAGE, MOST_ON_PAGE = 100, 10_000
_BATCH, _MANY = 1000, 10_000
_MOST_LOOKED_AT = 200_000
_FINISHED = (JobState.DONE, JobState.FAILED)

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_Record = TypeVar("_Record")


def _jobs(request: ApiRequest) -> Any:
    after, states = request.count("after", 0) or 0, request.states()
    if request.lines:
        limit = request.count("limit", None)
        found = _all_jobs(request.store, request.study, states, after, limit)
        return Stream(_lines(found, messages.job_to_json))
    limit = request.count("limit", PAGE, most=MOST_ON_PAGE) or 0
    return _page(request.store, request.study, states, after, limit)


def _job(request: ApiRequest) -> Any:
    return messages.job_to_json(request.store.job(request.study, request.job))


def _members(request: ApiRequest) -> Any:
    views = request.store.members(request.study)
    if request.lines:
        return Stream(_lines(views, messages.member_to_json))
    after = request.count("after", 0) or 0
    limit = request.count("limit", PAGE, most=MOST_ON_PAGE) or 0
    shown = views[after : after + limit]
    end = after + len(shown)
    return {
        "members": [messages.member_to_json(view) for view in shown],
        "next": end if end < len(views) else None,
        "total": len(views),
    }


def _lineage(request: ApiRequest) -> Any:
    return {
        "jobs": [
            messages.job_to_json(job) for job in request.store.lineage(request.study, request.job)
        ]
    }


def _points(request: ApiRequest) -> Any:
    points = request.store.points(request.study, request.job)
    if request.lines:
        return Stream(_lines(points, lambda point: messages.points_to_json([point])[0]))
    after = request.count("after", 0) or 0
    limit = request.count("limit", PAGE, most=MOST_ON_PAGE) or 0
    shown = points[after : after + limit]
    end = after + len(shown)
    return {
        "points": messages.points_to_json(shown),
        "next": end if end < len(points) else None,
        "total": len(points),
    }


def _points_of(request: ApiRequest) -> Any:
    member = request.path["member"]
    if not (member.isascii() and member.isdecimal() and len(member) < len(str(messages.MOST))):
        raise ConfigError(f"member: got {member!r:.80}, wanted the number of a member")
    return Stream(_lines(request.store.points_of(request.study, int(member)), list))


def _failures(request: ApiRequest) -> Any:
    limit = request.count("limit", PAGE, most=messages.MOST if request.lines else MOST_ON_PAGE) or 0
    failures = request.store.failures(request.study, limit=limit)
    if request.lines:
        return Stream(_lines(failures, messages.attempt_to_json))
    return {"failures": [messages.attempt_to_json(failed) for failed in failures]}


def _pins(request: ApiRequest) -> Any:
    return {"jobs": list(request.store.pins(request.study))}


def _scan(request: ApiRequest) -> Any:
    names = [
        name for batch in request.query.getlist("columns") for name in batch.split(",") if name
    ]
    unknown = [name for name in names if name not in JOB_COLUMNS]
    if unknown or not 0 < len(names) <= len(JOB_COLUMNS):
        got = unknown[0] if unknown else f"{len(names)} of them"
        raise ConfigError(f"columns: got {got!r:.80}, wanted some of {', '.join(JOB_COLUMNS)}")
    columns = [column for name in names for column in JOB_COLUMNS if column == name]
    after, limit = request.count("after", 0) or 0, request.count("limit", None)
    return Stream(_lines(_rows(request.store, request.study, columns, after, limit), list))


def _page(
    store: Store, study: int, states: Sequence[JobState] | None, after: int, limit: int
) -> dict[str, Any]:
    """Return one page; positions run over the finished jobs, and on over the open ones."""
    counts = store.status(study).counts
    n_finished = sum(counts.get(state, 0) for state in _FINISHED)
    wanted = frozenset(JobState if states is None else states)
    total = sum(counts.get(state, 0) for state in wanted)
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
    return {
        "jobs": list(map(messages.job_to_json, jobs)),
        "next": at if more else None,
        "total": total,
    }


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


def _lines(records: Iterable[_Record], to_json: Callable[[_Record], Any]) -> Iterator[bytes]:
    """Yield records as JSON lines, many to a block; at least one block, be it empty."""
    left = iter(records)
    while True:
        batch = [_encode(to_json(record)) for record in islice(left, _BATCH)]
        yield ("\n".join(batch) + "\n").encode("ascii") if batch else b""
        if len(batch) < _BATCH:
            return


_STUDY = "/studies/{study}"
_JOBS_QUERY = {"state": s.STATE_QUERY, "after": s.AFTER_QUERY, "limit": s.LIMIT_QUERY}
_PAGE_QUERY = {"after": s.AFTER_QUERY, "limit": s.LIMIT_QUERY}

OPERATIONS = (
    Operation(
        method="GET", path=f"{_STUDY}/jobs", role=Role.VIEWER, run=_jobs,
        summary="Finished jobs in the order of their reports, then the open ones by member.",
        query=_JOBS_QUERY, reply=s.JOBS_PAGE, lines=s.JOB, errors=(404,),
    ),
    Operation(
        method="GET", path=f"{_STUDY}/jobs/{{job}}", role=Role.VIEWER, run=_job,
        summary="One job.", reply=s.JOB, errors=(404,),
    ),
    Operation(
        method="GET", path=f"{_STUDY}/members", role=Role.VIEWER, run=_members,
        summary="The newest and the open job of every member.", query=_PAGE_QUERY,
        reply=s.MEMBERS_PAGE, lines=s.MEMBER, errors=(404,),
    ),
    Operation(
        method="GET", path=f"{_STUDY}/members/{{member}}/points", role=Role.VIEWER, run=_points_of,
        summary="The points of all jobs of a member: [round, step, values as JSON text].",
        lines=s.MEMBER_POINT, errors=(404,),
    ),
    Operation(
        method="GET", path=f"{_STUDY}/lineage/{{job}}", role=Role.VIEWER, run=_lineage,
        summary="A job and its ancestors, round 0 first.", reply=s.JOBS, errors=(404,),
    ),
    Operation(
        method="GET", path=f"{_STUDY}/points/{{job}}", role=Role.VIEWER, run=_points,
        summary="What training logged within a job.", query=_PAGE_QUERY, reply=s.POINTS_PAGE,
        lines=s.POINT, errors=(404,),
    ),
    Operation(
        method="GET", path=f"{_STUDY}/failures", role=Role.VIEWER, run=_failures,
        summary="The newest failed attempts, the newest last.", query={"limit": s.LIMIT_QUERY},
        reply=s.FAILURES, lines=s.FAILED, errors=(404,),
    ),
    Operation(
        method="GET", path=f"{_STUDY}/pins", role=Role.VIEWER, run=_pins,
        summary="The jobs whose checkpoints are pinned.", reply=s.JOB_IDS, errors=(404,),
    ),
    Operation(
        method="GET", path=f"{_STUDY}/scan", role=Role.VIEWER, run=_scan,
        summary="Columns of the finished jobs: a JSON list a line.",
        query={"columns": s.COLUMNS_QUERY, "after": s.AFTER_QUERY, "limit": s.LIMIT_QUERY},
        needs=("columns",), lines=s.ROW, errors=(404,),
    ),
)  # fmt: skip

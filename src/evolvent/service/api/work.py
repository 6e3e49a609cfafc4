"""What workers do: claim, heartbeat, report, fail, release, reparent."""

from __future__ import annotations

import sys

from evolvent.core.study import StudyRecord
from evolvent.service.api.operations import ApiRequest, JsonCall, LongPoll
from evolvent.service.auth.middleware import Role
from evolvent.store.codec import messages as m
from evolvent.store.records import Lease, Report
from evolvent.validation import invalid


def _heartbeat(request: ApiRequest) -> None:
    body: m.HeartbeatBody = request.body
    lease = body.fence.lease(request.study)
    request.store.heartbeat(lease, lease_s=body.lease_s, points=body.points, offset=body.offset)


def _report(request: ApiRequest) -> None:
    body: m.ReportBody = request.body
    score = body.score
    if score is None:
        score = _score(request.store.status(request.study).record, body)
    report = Report(score, body.metrics, body.checkpoint, body.points, body.offset)
    request.store.report(body.fence.lease(request.study), report)


def _reparent(request: ApiRequest) -> Lease:
    body: m.ReparentBody = request.body
    lease = body.fence.lease(request.study)
    return request.store.reparent(lease, parent=body.parent, reason=body.reason)


def _score(record: StudyRecord, body: m.ReportBody) -> float:
    """Return the score that the metrics of a report come to."""
    value = body.metrics.get(record.metric)
    if value is None or not abs(value) <= sys.float_info.max:  # integers can be larger
        got = "none" if value is None else f"{value!r:.80}"
        raise invalid(
            "metrics",
            f"got {got} for {record.metric!r}, wanted a finite number: it is the "
            "objective; a job whose metric is not finite has failed (POST …/fail)",
        )
    return float(record.score(value))


OPERATIONS: tuple[JsonCall | LongPoll, ...] = (
    LongPoll(
        method="POST", path="/studies/{study}/claim", role=Role.WORKER,
        summary="Get a job, waiting for one up to wait_s; 204 when there is none.",
        body=m.CLAIM, reply=m.LEASE,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/heartbeat", role=Role.WORKER, run=_heartbeat,
        summary="Prolong a lease, and log points.", body=m.HEARTBEAT, errors=(409,),
    ),
    JsonCall(
        method="POST", path="/studies/{study}/report", role=Role.WORKER, run=_report,
        summary="A job is done. Without score it is that of the study's metric.",
        body=m.REPORT, errors=(409,), changes=True, decides=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/fail", role=Role.WORKER, body=m.FAIL,
        run=lambda r: r.store.fail(r.body.fence.lease(r.study), r.body.failure),
        summary="An attempt came to nothing.", errors=(409,), changes=True, decides=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/release", role=Role.WORKER, body=m.RELEASE,
        run=lambda r: r.store.release(r.study, worker=r.body.worker, failure=r.body.failure),
        summary="Note a failure for every job that a worker holds.",
        reply=m.RELEASED, changes=True, decides=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/reparent", role=Role.WORKER, run=_reparent,
        summary="Let a job start from an ancestor: its parent's checkpoint is damaged.",
        body=m.REPARENT, reply=m.LEASE, errors=(409,),
    ),
)  # fmt: skip

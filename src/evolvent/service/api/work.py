"""What workers do: claim, heartbeat, report, fail, release, reparent."""

from __future__ import annotations

import sys
from typing import Any

from evolvent.service.api import schemas as s
from evolvent.service.api.long_poll import ClaimBody
from evolvent.service.api.operations import JsonCall, LongPoll
from evolvent.service.api.request import ApiRequest
from evolvent.service.auth.roles import Role
from evolvent.store.codec import messages, records
from evolvent.store.codec.fields import metrics, number, object_, text
from evolvent.validation import invalid

LEASE_S = 60.0
_LONGEST_TEXT = 10_000


def _claim(request: ApiRequest) -> ClaimBody:
    """Return what a claim asks for.

    Raises:
        Malformed: names the field.
    """
    body = request.body
    wait_s = messages.seconds(body, "wait_s") if body.get("wait_s") is not None else 0.0
    if not 0 <= wait_s <= messages.MOST_WAIT_S:
        raise invalid("wait_s", f"got {wait_s}, wanted 0 to {messages.MOST_WAIT_S:.0f}")
    return ClaimBody(
        messages.worker_name(body),
        _lease_s(body),
        messages.int32(body, "prefer") if body.get("prefer") is not None else None,
        wait_s,
        messages.key_from_json(body),
    )


def _heartbeat(request: ApiRequest) -> None:
    lease = messages.fence_from_json(request.study, request.body)
    points, key = messages.points_from_json(request.body), messages.key_from_json(request.body)
    request.store.heartbeat(lease, lease_s=_lease_s(request.body), points=points, key=key)


def _report(request: ApiRequest) -> None:
    lease = messages.fence_from_json(request.study, request.body)
    body = request.body if request.body.get("score") is not None else _scored(request)
    request.store.report(lease, messages.report_from_json(body))


def _fail(request: ApiRequest) -> None:
    lease = messages.fence_from_json(request.study, request.body)
    failure = records.failure_from_json(object_(request.body, "failure"))
    request.store.fail(lease, failure, key=messages.key_from_json(request.body))


def _release(request: ApiRequest) -> Any:
    failure = records.failure_from_json(object_(request.body, "failure"))
    worker, key = messages.worker_name(request.body), messages.key_from_json(request.body)
    released = request.store.release(request.study, worker=worker, failure=failure, key=key)
    return {"released": released}


def _reparent(request: ApiRequest) -> Any:
    lease = messages.fence_from_json(request.study, request.body)
    parent, reason = messages.job_name(text(request.body, "parent")), text(request.body, "reason")
    if len(reason) > _LONGEST_TEXT:
        raise invalid("reason", f"longer than {_LONGEST_TEXT} characters, wanted a sentence")
    key = messages.key_from_json(request.body)
    return messages.lease_to_json(
        request.store.reparent(lease, parent=parent, reason=reason, key=key)
    )


def _lease_s(body: dict[str, Any]) -> float:
    return LEASE_S if body.get("lease_s") is None else messages.seconds(body, "lease_s")


def _scored(request: ApiRequest) -> dict[str, Any]:
    """Return the body with the score that its metrics come to."""
    record = request.store.status(request.study).record
    values = metrics(request.body, "metrics")
    value = values.get(record.metric)
    if value is None or not abs(value) <= sys.float_info.max:  # integers can be larger
        got = "none" if value is None else f"{value!r:.80}"
        raise invalid(
            "metrics",
            f"got {got} for {record.metric!r}, wanted a finite number: it is the "
            "objective; a job whose metric is not finite has failed (POST …/fail)",
        )
    return {**request.body, "score": record.score(number(values, record.metric))}


OPERATIONS: tuple[JsonCall | LongPoll, ...] = (
    LongPoll(
        method="POST", path="/studies/{study}/claim", role=Role.WORKER, parse=_claim,
        summary="Get a job, waiting for one up to wait_s; 204 when there is none.",
        body=s.CLAIM, reply=s.LEASE, errors=(404,),
    ),
    JsonCall(
        method="POST", path="/studies/{study}/heartbeat", role=Role.WORKER, run=_heartbeat,
        summary="Prolong a lease, and log points.", body=s.HEARTBEAT, errors=(404, 409),
    ),
    JsonCall(
        method="POST", path="/studies/{study}/report", role=Role.WORKER, run=_report,
        summary="A job is done. Without score it is that of the study's metric.",
        body=s.REPORT, errors=(404, 409), changes=True, decides=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/fail", role=Role.WORKER, run=_fail,
        summary="An attempt came to nothing.", body=s.FAIL, errors=(404, 409),
        changes=True, decides=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/release", role=Role.WORKER, run=_release,
        summary="Note a failure for every job that a worker holds.", body=s.RELEASE,
        reply=s.RELEASED, errors=(404,), changes=True, decides=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/reparent", role=Role.WORKER, run=_reparent,
        summary="Let a job start from an ancestor: its parent's checkpoint is damaged.",
        body=s.REPARENT, reply=s.LEASE, errors=(404, 409),
    ),
)  # fmt: skip

"""Studies: listed, made, found, removed."""

from __future__ import annotations

from typing import Any

from evolvent.errors import UnknownStudy
from evolvent.service.api import schemas as s
from evolvent.service.api.operations import JsonCall
from evolvent.service.api.policy import refuse_foreign
from evolvent.service.api.request import ApiRequest
from evolvent.service.auth.roles import Role
from evolvent.service.web.threads import ThreadKind
from evolvent.store.codec import messages
from evolvent.store.codec.fields import number, object_, text
from evolvent.store.codec.messages import key_from_json, status_to_json
from evolvent.store.codec.study import record_from_json
from evolvent.store.records import StudyStatus, named
from evolvent.validation import check_path, invalid

MOST_MEMBERS = 100_000
_LONGEST_REASON = 1000


def _studies(request: ApiRequest) -> Any:
    return {"studies": [status_to_json(status) for status in _visible(request)]}


def _create(request: ApiRequest) -> Any:
    record = record_from_json(object_(request.body, "record"), partial=True)
    refuse_foreign(record.algorithm)
    if record.population > MOST_MEMBERS:
        raise invalid("population", f"got {record.population}, wanted 1 to {MOST_MEMBERS}")
    record.algorithm.validate(record.space, record.population)
    return {"id": request.store.create_study(record, key=key_from_json(request.body))}


def _find(request: ApiRequest) -> Any:
    return status_to_json(named(request.path["name"], _visible(request), url=request.base_url))


def _status(request: ApiRequest) -> Any:
    return status_to_json(request.store.status(request.study))


def _delete(request: ApiRequest) -> None:
    request.store.delete_study(request.study)


def _visible(request: ApiRequest) -> list[StudyStatus]:
    """Return the studies that whoever asks may know of."""
    bound = request.identity.study
    if bound is None:
        return request.store.studies()
    try:
        return [request.store.find_study(bound)]
    except UnknownStudy:
        return []


OPERATIONS: tuple[JsonCall, ...] = (
    JsonCall(
        method="GET", path="/studies", role=Role.VIEWER, run=_studies,
        summary="All studies, the newest last.", reply=s.STUDIES,
    ),
    JsonCall(
        method="POST", path="/studies", role=Role.ADMIN, run=_create,
        summary="Make a study.", body=s.NEW_STUDY, reply=s.STUDY_ID, creates=True,
        errors=(409,),
    ),
    JsonCall(
        method="GET", path="/studies/named/{name}", role=Role.VIEWER, run=_find,
        summary="The study of a name.", reply=s.STATUS, errors=(404,),
    ),
    JsonCall(
        method="GET", path="/studies/{study}", role=Role.VIEWER, run=_status,
        summary="How a study stands.", reply=s.STATUS, errors=(404,),
    ),
    JsonCall(
        method="DELETE", path="/studies/{study}", role=Role.ADMIN, run=_delete,
        summary="Remove a study with its log and its checkpoints.", changes=True, errors=(404,),
        threads=ThreadKind.SLOW,
    ),
)  # fmt: skip


def _stop(request: ApiRequest) -> None:
    reason = text(request.body, "reason") if "reason" in request.body else "stopped by hand"
    if not 0 < len(reason) <= _LONGEST_REASON or not reason.isprintable():
        raise invalid(
            "reason", f"got {reason!r:.80}, wanted 1 to {_LONGEST_REASON} printable characters"
        )
    request.store.stop(request.study, reason=reason)


def _resume(request: ApiRequest) -> None:
    request.store.resume(request.study)


def _extend(request: ApiRequest) -> None:
    request.store.extend(request.study, rounds=messages.int32(request.body, "rounds"))


def _retarget(request: ApiRequest) -> None:
    if "target" not in request.body:
        raise invalid("target", "missing, wanted a number, or null for none")
    target = None if request.body["target"] is None else float(number(request.body, "target"))
    request.store.retarget(request.study, target=target)


def _remember(request: ApiRequest) -> None:
    trainable = check_path("trainable", text(request.body, "trainable"))
    request.store.remember(request.study, trainable=trainable)


def _push(request: ApiRequest) -> Any:
    record = request.store.status(request.study).record
    values = record.space.check(object_(request.body, "hyperparameters"), partial=True)
    done = request.body.get("done")
    job = request.store.push(
        request.study,
        values,
        done=None if done is None else messages.report_from_json(object_(request.body, "done")),
        key=messages.key_from_json(request.body),
    )
    return {"job": job}


def _pin(request: ApiRequest) -> None:
    request.store.pin(request.study, messages.job_name(text(request.body, "job")))


def _unpin(request: ApiRequest) -> None:
    request.store.unpin(request.study, messages.job_name(text(request.body, "job")))


def _collect(request: ApiRequest) -> Any:
    return {"freed": request.store.collect(request.study)}


CONTROL_OPERATIONS: tuple[JsonCall, ...] = (
    JsonCall(
        method="POST", path="/studies/{study}/stop", role=Role.ADMIN, run=_stop,
        summary="Give out no more jobs; running ones may still report.", body=s.STOP,
        errors=(404,), changes=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/resume", role=Role.ADMIN, run=_resume,
        summary="Undo stop; in a failed study every member starts again.", body=s.NOTHING,
        errors=(404, 409), changes=True, decides=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/extend", role=Role.ADMIN, run=_extend,
        summary="Set the total number of rounds.", body=s.EXTEND, errors=(404,),
        changes=True, decides=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/retarget", role=Role.ADMIN, run=_retarget,
        summary="Set or remove the value of the metric at which the study stops.",
        body=s.RETARGET, errors=(404,), changes=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/remember", role=Role.ADMIN, run=_remember,
        summary="Keep the import path of the training code; it is never imported here.",
        body=s.REMEMBER, errors=(404,),
    ),
    JsonCall(
        method="POST", path="/studies/{study}/push", role=Role.ADMIN, run=_push,
        summary="Add a member by hand; hyperparameters left out are drawn.", body=s.PUSH,
        reply=s.JOB_ID, creates=True, errors=(404, 409), changes=True, decides=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/pin", role=Role.ADMIN, run=_pin,
        summary="Keep the checkpoint of a job.", body=s.ONE_JOB, errors=(404, 409),
    ),
    JsonCall(
        method="POST", path="/studies/{study}/unpin", role=Role.ADMIN, run=_unpin,
        summary="Let the checkpoint of a job go.", body=s.ONE_JOB, errors=(404,),
    ),
    JsonCall(
        method="POST", path="/studies/{study}/collect", role=Role.WORKER, run=_collect,
        summary="Remove checkpoints that nothing needs.", body=s.NOTHING, reply=s.FREED,
        errors=(404,), threads=ThreadKind.SLOW,
    ),
)  # fmt: skip

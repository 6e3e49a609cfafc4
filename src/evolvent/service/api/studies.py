"""Studies: listed, made, found, removed."""

from __future__ import annotations

from evolvent.core.records import JobId
from evolvent.errors import UnknownStudy
from evolvent.service.api.operations import JsonCall
from evolvent.service.api.policy import refuse_foreign
from evolvent.service.api.request import ApiRequest
from evolvent.service.auth.roles import Role
from evolvent.service.web.threads import ThreadKind
from evolvent.store.codec import messages as m
from evolvent.store.records import StudyStatus, named
from evolvent.validation import invalid

MOST_MEMBERS = 100_000


def _create(request: ApiRequest) -> int:
    body: m.NewStudyBody = request.body
    record = body.record
    refuse_foreign(record.algorithm)
    if record.population > MOST_MEMBERS:
        raise invalid("population", f"got {record.population}, wanted 1 to {MOST_MEMBERS}")
    record.algorithm.validate(record.space, record.population)
    return request.store.create_study(record, key=body.key)


def _find(request: ApiRequest) -> StudyStatus:
    return named(request.path["name"], _visible(request), url=request.base_url)


def _status(request: ApiRequest) -> StudyStatus:
    return request.store.status(request.study)


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
        method="GET", path="/studies", role=Role.VIEWER, run=_visible,
        summary="All studies, the newest last.", reply=m.STUDIES,
    ),
    JsonCall(
        method="POST", path="/studies", role=Role.ADMIN, run=_create,
        summary="Make a study.", body=m.NEW_STUDY, reply=m.STUDY_ID, creates=True,
        errors=(409,),
    ),
    JsonCall(
        method="GET", path="/studies/named/{name}", role=Role.VIEWER, run=_find,
        summary="The study of a name.", reply=m.STATUS, errors=(404,),
    ),
    JsonCall(
        method="GET", path="/studies/{study}", role=Role.VIEWER, run=_status,
        summary="How a study stands.", reply=m.STATUS, errors=(404,),
    ),
    JsonCall(
        method="DELETE", path="/studies/{study}", role=Role.ADMIN, run=_delete,
        summary="Remove a study with its log and its checkpoints.", changes=True, errors=(404,),
        threads=ThreadKind.SLOW,
    ),
)  # fmt: skip


def _stop(request: ApiRequest) -> None:
    body: m.StopBody = request.body
    request.store.stop(request.study, reason=body.reason)


def _resume(request: ApiRequest) -> None:
    request.store.resume(request.study)


def _extend(request: ApiRequest) -> None:
    request.store.extend(request.study, rounds=request.body)


def _retarget(request: ApiRequest) -> None:
    request.store.retarget(request.study, target=request.body)


def _remember(request: ApiRequest) -> None:
    request.store.remember(request.study, trainable=request.body)


def _push(request: ApiRequest) -> JobId:
    body: m.PushBody = request.body
    space = request.store.status(request.study).record.space
    values = space.check(body.hyperparameters, partial=True)
    return request.store.push(request.study, values, done=body.done, key=body.key)


def _pin(request: ApiRequest) -> None:
    request.store.pin(request.study, request.body)


def _unpin(request: ApiRequest) -> None:
    request.store.unpin(request.study, request.body)


def _collect(request: ApiRequest) -> int:
    return request.store.collect(request.study)


CONTROL_OPERATIONS: tuple[JsonCall, ...] = (
    JsonCall(
        method="POST", path="/studies/{study}/stop", role=Role.ADMIN, run=_stop,
        summary="Give out no more jobs; running ones may still report.", body=m.STOP,
        errors=(404,), changes=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/resume", role=Role.ADMIN, run=_resume,
        summary="Undo stop; in a failed study every member starts again.", body=m.NOTHING,
        errors=(404, 409), changes=True, decides=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/extend", role=Role.ADMIN, run=_extend,
        summary="Set the total number of rounds.", body=m.EXTEND, errors=(404,),
        changes=True, decides=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/retarget", role=Role.ADMIN, run=_retarget,
        summary="Set or remove the value of the metric at which the study stops.",
        body=m.RETARGET, errors=(404,), changes=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/remember", role=Role.ADMIN, run=_remember,
        summary="Keep the import path of the training code; it is never imported here.",
        body=m.REMEMBER, errors=(404,),
    ),
    JsonCall(
        method="POST", path="/studies/{study}/push", role=Role.ADMIN, run=_push,
        summary="Add a member by hand; hyperparameters left out are drawn.", body=m.PUSH,
        reply=m.JOB_ID, creates=True, errors=(404, 409), changes=True, decides=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/pin", role=Role.ADMIN, run=_pin,
        summary="Keep the checkpoint of a job.", body=m.ONE_JOB, errors=(404, 409),
    ),
    JsonCall(
        method="POST", path="/studies/{study}/unpin", role=Role.ADMIN, run=_unpin,
        summary="Let the checkpoint of a job go.", body=m.ONE_JOB, errors=(404,),
    ),
    JsonCall(
        method="POST", path="/studies/{study}/collect", role=Role.WORKER, run=_collect,
        summary="Remove checkpoints that nothing needs.", body=m.NOTHING, reply=m.FREED,
        errors=(404,), threads=ThreadKind.SLOW,
    ),
)  # fmt: skip

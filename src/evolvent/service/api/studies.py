"""Studies: listed, made, found, removed, told what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from evolvent.core.algorithms import Algorithm, algorithm_to_json
from evolvent.core.records import JobId
from evolvent.errors import UnknownStudy
from evolvent.service.api.operations import ApiRequest, JsonCall
from evolvent.service.auth.roles import Identity, Role
from evolvent.service.web.threads import ThreadKind
from evolvent.store.codec import messages as m
from evolvent.store.protocol import Store
from evolvent.store.records import StudyStatus, named
from evolvent.validation import cut, invalid

MOST_MEMBERS = 100_000
_STUDY = "/studies/{study}"
_IMPORTING_FIELDS = {"CustomExplore": "fn"}
"""Types whose field is a path that deciding imports."""


def _create(request: ApiRequest) -> int:
    body: m.NewStudyBody = request.body
    record = body.record
    refuse_foreign(record.algorithm)
    if record.population > MOST_MEMBERS:
        raise invalid("population", f"got {record.population}, wanted 1 to {MOST_MEMBERS}")
    record.algorithm.validate(record.space, record.population)
    return request.store.create_study(record, key=body.key)


def visible(store: Store, identity: Identity) -> list[StudyStatus]:
    """Return the studies that whoever asks may know of, the newest last."""
    if identity.study is None:
        return store.studies()
    try:
        return [store.find_study(identity.study)]
    except UnknownStudy:
        return []


def _push(request: ApiRequest) -> JobId:
    body: m.PushBody = request.body
    space = request.store.status(request.study).record.space
    values = space.check(body.hyperparameters, partial=True)
    return request.store.push(
        request.study, values, done=body.done, key=body.key, by=request.identity.name
    )


def refuse_foreign(algorithm: Algorithm) -> None:
    """Refuse an algorithm that has an import path in it; nothing is imported to find out.

    Raises:
        ConfigError: names the field.
    """
    for field, path in _paths(algorithm_to_json(algorithm), "algorithm"):
        raise invalid(
            field,
            f"got {cut(path, 120)}, code that this service does not import: wanted one of "
            "the built-in strategies; a study with code of its own needs a store that its workers "
            "reach directly (SQLite or PostgreSQL)",
        )


def _paths(data: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        field = _IMPORTING_FIELDS.get(data.get("type", ""))
        if field is not None:
            yield f"{where}.{field}", data.get(field)
        for name, value in data.items():
            yield from _paths(value, f"{where}.{name}")
    elif isinstance(data, (list, tuple)):
        for number, value in enumerate(data):
            yield from _paths(value, f"{where}[{number}]")


OPERATIONS: tuple[JsonCall, ...] = (
    JsonCall(
        method="GET", path="/studies", role=Role.VIEWER, reply=m.STUDIES,
        run=lambda r: visible(r.store, r.identity), summary="All studies, the newest last.",
    ),
    JsonCall(
        method="POST", path="/studies", role=Role.ADMIN, run=_create,
        summary="Make a study.", body=m.NEW_STUDY, reply=m.STUDY_ID, creates=True,
        errors=(409,),
    ),
    JsonCall(
        method="GET", path="/studies/named/{name}", role=Role.VIEWER,
        run=lambda r: named(r.path["name"], visible(r.store, r.identity), url=r.base_url),
        summary="The study of a name.", reply=m.STATUS,
    ),
    JsonCall(
        method="GET", path=_STUDY, role=Role.VIEWER, run=lambda r: r.store.status(r.study),
        summary="How a study stands.", reply=m.STATUS,
    ),
    JsonCall(
        method="DELETE", path=_STUDY, role=Role.ADMIN, changes=True, threads=ThreadKind.SLOW,
        run=lambda r: r.store.delete_study(r.study),
        summary="Remove a study with its log and its checkpoints.",
    ),
    JsonCall(
        method="POST", path=f"{_STUDY}/stop", role=Role.ADMIN, body=m.STOP, changes=True,
        run=lambda r: r.store.stop(r.study, reason=r.body.reason, by=r.identity.name),
        summary="Give out no more jobs; running ones may still report.",
    ),
    JsonCall(
        method="POST", path=f"{_STUDY}/resume", role=Role.ADMIN, body=m.NOTHING,
        run=lambda r: r.store.resume(r.study, by=r.identity.name), errors=(409,),
        changes=True, decides=True,
        summary="Undo stop; in a failed study every member starts again.",
    ),
    JsonCall(
        method="POST", path=f"{_STUDY}/extend", role=Role.ADMIN, body=m.EXTEND,
        run=lambda r: r.store.extend(r.study, rounds=r.body, by=r.identity.name),
        changes=True, decides=True,
        summary="Set the total number of rounds.",
    ),
    JsonCall(
        method="POST", path=f"{_STUDY}/retarget", role=Role.ADMIN, body=m.RETARGET, changes=True,
        run=lambda r: r.store.retarget(r.study, target=r.body, by=r.identity.name),
        summary="Set or remove the value of the metric at which the study stops.",
    ),
    JsonCall(
        method="POST", path=f"{_STUDY}/remember", role=Role.ADMIN, body=m.REMEMBER,
        run=lambda r: r.store.remember(r.study, trainable=r.body),
        summary="Keep the import path of the training code; it is never imported here.",
    ),
    JsonCall(
        method="POST", path=f"{_STUDY}/push", role=Role.ADMIN, run=_push, body=m.PUSH,
        summary="Add a member by hand; hyperparameters left out are drawn.",
        reply=m.JOB_ID, creates=True, errors=(409,), changes=True, decides=True,
    ),
    JsonCall(
        method="POST", path=f"{_STUDY}/pin", role=Role.ADMIN, body=m.ONE_JOB, errors=(409,),
        run=lambda r: r.store.pin(r.study, r.body), summary="Keep the checkpoint of a job.",
    ),
    JsonCall(
        method="POST", path=f"{_STUDY}/unpin", role=Role.ADMIN, body=m.ONE_JOB,
        run=lambda r: r.store.unpin(r.study, r.body), summary="Let the checkpoint of a job go.",
    ),
    JsonCall(
        method="POST", path=f"{_STUDY}/collect", role=Role.WORKER, body=m.NOTHING, reply=m.FREED,
        run=lambda r: r.store.collect(r.study), threads=ThreadKind.SLOW,
        summary="Remove checkpoints that nothing needs.",
    ),
)  # fmt: skip

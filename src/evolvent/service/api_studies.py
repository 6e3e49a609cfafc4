"""Studies: listed, made, found, removed."""

from __future__ import annotations

from typing import Any

from evolvent.errors import ConfigError, UnknownStudy
from evolvent.service import schemas as s
from evolvent.service.calls import Call, Operation
from evolvent.service.foreign import refuse_foreign
from evolvent.service.identity import Role
from evolvent.store.fields import mapped
from evolvent.store.records import StudyStatus, named
from evolvent.store.settings import record_from_json
from evolvent.store.wire import key_from_json, status_to_json

MOST_MEMBERS = 100_000


def _studies(call: Call) -> Any:
    return {"studies": [status_to_json(status) for status in _visible(call)]}


def _create(call: Call) -> Any:
    record = record_from_json(mapped(call.body, "record"), partial=True)
    refuse_foreign(record.algorithm)
    if record.population > MOST_MEMBERS:
        raise ConfigError(f"population: got {record.population}, wanted 1 to {MOST_MEMBERS}")
    record.algorithm.validate(record.space, record.population)
    return {"id": call.store.create_study(record, key=key_from_json(call.body))}


def _find(call: Call) -> Any:
    return status_to_json(named(call.path["name"], _visible(call), url=call.base_url))


def _status(call: Call) -> Any:
    return status_to_json(call.store.status(call.study))


def _delete(call: Call) -> None:
    call.store.delete_study(call.study)


def _visible(call: Call) -> list[StudyStatus]:
    """Return the studies that whoever asks may know of."""
    bound = call.who.study
    if bound is None:
        return call.store.studies()
    try:
        return [call.store.find_study(bound)]
    except UnknownStudy:
        return []


OPERATIONS = (
    Operation(
        method="GET", path="/studies", role=Role.VIEWER, run=_studies,
        summary="All studies, the newest last.", reply=s.STUDIES,
    ),
    Operation(
        method="POST", path="/studies", role=Role.ADMIN, run=_create,
        summary="Make a study.", body=s.NEW_STUDY, reply=s.STUDY_ID, creates=True,
        errors=(409,),
    ),
    Operation(
        method="GET", path="/studies/named/{name}", role=Role.VIEWER, run=_find,
        summary="The study of a name.", reply=s.STATUS, errors=(404,),
    ),
    Operation(
        method="GET", path="/studies/{study}", role=Role.VIEWER, run=_status,
        summary="How a study stands.", reply=s.STATUS, errors=(404,),
    ),
    Operation(
        method="DELETE", path="/studies/{study}", role=Role.ADMIN, run=_delete,
        summary="Remove a study with its log and its checkpoints.", changes=True, errors=(404,),
        slow=True,
    ),
)  # fmt: skip

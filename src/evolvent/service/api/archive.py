"""Whole studies: taken out and put in as one stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from evolvent.errors import ArchiveError
from evolvent.service.api.operations import IncomingBody, StreamCall, UploadCall
from evolvent.service.api.policy import refuse_foreign
from evolvent.service.api.request import ApiRequest
from evolvent.service.auth.roles import Role
from evolvent.service.web.body import check_type, spooled
from evolvent.store.archive.export import parse_choice
from evolvent.store.archive.validate import Consistency
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.codec.fields import Schema
from evolvent.store.codec.messages import KEY, STUDY_ID
from evolvent.store.codec.stream import MEDIA_TYPE, Received, file_blocks, log_blocks
from evolvent.store.dump import Chosen, StudyDump
from evolvent.store.protocol import Store

_CHOICE: Schema = {
    "type": "string",
    "description": "best, kept, pinned, none, or jobs with commas between them.",
}

_Record = TypeVar("_Record")


def _dump(request: ApiRequest) -> Iterator[bytes]:
    which = parse_choice(request.query.get("checkpoints", "best"))
    return _blocks(request.store, request.study, which)


async def _receive(request: ApiRequest, body: IncomingBody) -> Any:
    check_type(body.headers, MEDIA_TYPE)
    most = request.settings.max_study_bytes
    async with spooled(body.headers, body.receive, most=most) as path:
        return await body.threads.slow(lambda: _restore(request, path))


def _restore(request: ApiRequest, path: Path) -> Any:
    received = Received.of(path)
    record = received.settings.record
    refuse_foreign(record.algorithm)
    key = KEY.from_json(request.query.get("key"), "key")

    def save(checkpoints: LocalCheckpoints) -> None:
        for name, staged in received.unpack(lambda _: checkpoints.stage("import")):
            if checkpoints.seal(staged) != name:
                raise ArchiveError(f"checkpoint {name}: other files came than those of it")

    return request.store.restore(_consistent(received), save=save, key=key)


def _blocks(store: Store, study: int, which: Chosen) -> Iterator[bytes]:
    with store.dump(study, checkpoints=which) as (dump, held):
        yield from log_blocks(dump, held.addresses)
        yield from file_blocks(held.directories)


def _consistent(received: Received) -> StudyDump:
    """Return the study, every record checked against those before it as it is read."""
    dump = received.dump()
    agreed = Consistency(dump.record, dump.pins)
    return replace(
        dump,
        members=_each(dump.members, agreed.member, agreed.check_members),
        jobs=_each(dump.jobs, agreed.job, agreed.check_jobs),
        points=map(agreed.point, dump.points),
        failures=map(agreed.failure, dump.failures),
    )


def _each(
    records: Any, check: Callable[[_Record], _Record], check_whole: Callable[[], None]
) -> Iterator[_Record]:
    yield from map(check, records)
    check_whole()


OPERATIONS: tuple[StreamCall | UploadCall, ...] = (
    StreamCall(
        method="GET", path="/studies/{study}/dump", role=Role.VIEWER, blocks=_dump,
        summary="A whole study as of one instant, with the files of checkpoints.",
        query={"checkpoints": _CHOICE}, media_type=MEDIA_TYPE, errors=(404, 409),
    ),
    UploadCall(
        method="POST", path="/restore", role=Role.ADMIN, receive=_receive,
        summary="Put in a study that `dump` of this or another service has given.",
        query={"key": KEY.schema}, media_type=MEDIA_TYPE, reply=STUDY_ID, creates=True,
        errors=(409,),
    ),
)  # fmt: skip

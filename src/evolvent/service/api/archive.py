"""Whole studies: taken out and put in as the archive that `evolvent export` writes."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from starlette.requests import Request

from evolvent.service.api.operations import ApiRequest, StreamCall, UploadCall
from evolvent.service.api.studies import refuse_foreign
from evolvent.service.auth.roles import Role
from evolvent.service.web.body import check_type, spooled, too_long
from evolvent.service.web.threads import StoreThreads
from evolvent.store.archive.export import parse_choice
from evolvent.store.archive.manifest import MEDIA_TYPE
from evolvent.store.archive.reader import ArchiveReader
from evolvent.store.archive.restore import PackedStudy
from evolvent.store.archive.writer import archive_blocks
from evolvent.store.codec.fields import Schema
from evolvent.store.codec.file_list import FILE, files_from_json
from evolvent.store.codec.messages import KEY, STUDY_ID
from evolvent.store.dump import Chosen
from evolvent.store.protocol import Store

_CHOICE: Schema = {
    "type": "string",
    "description": "best, kept, pinned, none, or jobs with commas between them.",
}


def _dump(request: ApiRequest) -> Generator[bytes, None, None]:
    which = parse_choice(request.query.get("checkpoints", "best"))
    return _blocks(request.store, request.study, which)


def _blocks(store: Store, study: int, which: Chosen) -> Generator[bytes, None, None]:
    with store.dump(study, checkpoints=which) as (dump, held):
        yield from archive_blocks(dump, held)


async def _receive(request: ApiRequest, sent: Request, threads: StoreThreads) -> Any:
    check_type(sent.headers, MEDIA_TYPE)
    most = request.settings.max_study_bytes
    async with spooled(sent.headers, sent.receive, most=most) as path:
        return await threads.slow(lambda: _restore(request, path))


def _restore(request: ApiRequest, path: Path) -> Any:
    most = request.settings.max_study_bytes
    # Of text no more at once than any other body may have: it comes packed, from anybody.
    with ArchiveReader(path, called="body", most_text=request.settings.max_body_bytes) as archive:
        if archive.manifest.n_bytes > most:  # packed it was shorter
            raise too_long(most)
        for packed_files in archive.manifest.checkpoints.values():
            # By the rules of uploads: other names this service could not send to anybody.
            files_from_json(list(map(FILE.to_json, packed_files.files.values())))
        packed = PackedStudy(archive)
        refuse_foreign(packed.record.algorithm)
        key = KEY.from_json(request.query.get("key"), "key")
        # Checked as it is read: nothing is in the store before all of it was.
        return request.store.restore(packed.checked_dump(), save=packed.save, key=key)


OPERATIONS: tuple[StreamCall | UploadCall, ...] = (
    StreamCall(
        method="GET", path="/studies/{study}/dump", role=Role.VIEWER, blocks=_dump,
        summary="A whole study as of one instant, with the files of checkpoints.",
        query={"checkpoints": _CHOICE}, media_type=MEDIA_TYPE, errors=(409,),
    ),
    UploadCall(
        method="POST", path="/restore", role=Role.ADMIN, receive=_receive,
        summary="Put in a study that `dump` of this or another service has given.",
        query={"key": KEY.schema}, media_type=MEDIA_TYPE, reply=STUDY_ID, creates=True,
        errors=(409,),
    ),
)  # fmt: skip

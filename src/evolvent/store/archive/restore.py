"""From an archive into a store: checked in full first, then written in one transaction."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from evolvent.core.study import StudyRecord
from evolvent.errors import ArchiveError, StudyExists
from evolvent.store.archive import manifest as layout
from evolvent.store.archive.reader import ArchiveReader
from evolvent.store.archive.validate import Consistency
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.codec import records
from evolvent.store.codec.fields import Malformed
from evolvent.store.codec.study import SETTINGS
from evolvent.store.dump import StudyDump
from evolvent.store.protocol import Store

_Record = TypeVar("_Record")


@contextmanager
def checked_archive(path: str | Path) -> Iterator[PackedStudy]:
    """Open an archive after looking at every byte and line of it.

    Raises:
        ArchiveError: names the file, the entry, and what is wrong with it.
    """
    with ArchiveReader(Path(path)) as archive:
        packed = PackedStudy(archive)
        packed.check()
        yield packed


class PackedStudy:
    """The study in an archive."""

    def __init__(self, archive: ArchiveReader) -> None:
        self._archive = archive
        found = list(archive.records(layout.STUDY, lambda data: SETTINGS.from_json(data, "study")))
        if len(found) != 1:
            raise archive.error(layout.STUDY, f"{len(found)} lines, wanted one")
        self._settings = found[0]

    def check(self) -> None:
        """Look at everything once.

        Raises:
            ArchiveError: names the file, the entry, and what is wrong with it.
        """
        dump = self._dump(self._settings.record)
        for part in (dump.members, dump.jobs, dump.points, dump.failures):
            deque(part, maxlen=0)
        manifest = self._archive.manifest
        for name, entry in manifest.entries.items():
            if name not in manifest.parts:
                deque(self._archive.blocks(name, entry), maxlen=0)

    def restore(self, store: Store, *, name: str | None = None) -> int:
        """Write the study into a store, under another name if one is given; return its number.

        Raises:
            StudyExists: the name is taken.
            ArchiveError: the disk has no room for the checkpoints.
        """
        record = self._settings.record
        if name is not None:
            record = replace(record, name=name)
        if any(status.record.name == record.name for status in store.studies()):
            raise _name_taken(record.name, store)  # before hours of copying
        try:
            return store.restore(self._dump(record), save=self._save)
        except StudyExists as e:  # somebody took the name while the checkpoints were copied
            raise _name_taken(record.name, store) from e

    def _dump(self, record: StudyRecord) -> StudyDump:
        settings = self._settings
        consistency = Consistency(record, settings.pins)
        return StudyDump(
            record=record,
            created_at=settings.created_at,
            started_at=settings.started_at,
            stopped=settings.stopped,
            stopped_by=settings.stopped_by,
            pins=settings.pins,
            members=self._checked_records(
                layout.MEMBERS,
                lambda data: consistency.member(records.member(data)),
                consistency.check_members,
            ),
            jobs=self._checked_records(
                layout.JOBS,
                lambda data: consistency.job(records.finished(data)),
                consistency.check_jobs,
            ),
            points=self._checked_records(
                layout.POINTS,
                lambda data: consistency.point(records.JOB_POINT.from_json(data, "point")),
            ),
            failures=self._checked_records(
                layout.FAILURES,
                lambda data: consistency.failure(records.FAILED.from_json(data, "failure")),
            ),
        )

    def _checked_records(
        self,
        name: str,
        read: Callable[[dict[str, Any]], _Record],
        check_whole: Callable[[], None] | None = None,
    ) -> Iterator[_Record]:
        yield from self._archive.records(name, read)
        if check_whole is None:
            return
        try:
            check_whole()
        except Malformed as e:
            raise self._archive.error(name, e) from e

    def _save(self, checkpoints: LocalCheckpoints) -> None:
        """Seal the checkpoints that the archive holds."""
        packed = self._archive.manifest.checkpoints
        n_bytes = sum(
            file.size for checkpoint in packed.values() for file in checkpoint.files.values()
        )
        free = shutil.disk_usage(checkpoints.root.parent).free
        if n_bytes > free:
            raise ArchiveError(
                f"{self._archive.path}: its checkpoints have {n_bytes} bytes, and the disk of "
                f"{checkpoints.root.parent} has {free} left: free some space"
            )
        for address in packed:
            staged = checkpoints.stage("import")
            self._archive.unpack(address, staged)
            # Sealed by what lies on this disk now, so that a file it changed is seen.
            if checkpoints.seal(staged) != address:
                raise self._archive.error(f"checkpoint {address}", "other files than were written")


def _name_taken(name: str, store: Store) -> StudyExists:
    return StudyExists(
        f"name: there is a study {name!r} in {store.url} already: give the imported one another "
        "name (`evolvent import --name NEW`, or name=...)"
    )

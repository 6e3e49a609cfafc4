"""From an archive into a store: checked in full first, then written in one transaction."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from evolvent.core.records import JobId
from evolvent.core.study import StudyRecord
from evolvent.errors import StorageFull, StudyExists
from evolvent.store.archive import manifest as layout
from evolvent.store.archive.reader import ArchiveReader
from evolvent.store.archive.validate import Consistency
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.checkpoints.transfer import HeldCheckpoints
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
        dump = packed.checked_dump()
        for part in (dump.members, dump.jobs, dump.points, dump.failures):
            deque(part, maxlen=0)
        for address in archive.manifest.checkpoints:
            archive.check_files(address)
        yield packed


class PackedStudy:
    """The study in an archive."""

    def __init__(self, archive: ArchiveReader) -> None:
        self._archive = archive
        if (n := archive.manifest.lines[layout.STUDY]) != 1:
            raise archive.error(layout.STUDY, f"{n} lines, wanted one")
        # To the end, which tells whether it is what the manifest says.
        found = archive.records(layout.STUDY, lambda data: SETTINGS.from_json(data, "study"))
        [self._settings] = deque(found, maxlen=1)

    @property
    def record(self) -> StudyRecord:
        return self._settings.record

    def restore(self, store: Store, *, name: str | None = None) -> int:
        """Write the study into a store, under another name if one is given; return its number.

        Raises:
            StudyExists: the name is taken.
            StorageFull: the disk has no room for the checkpoints.
        """
        dump = self.checked_dump()
        if name is not None:
            dump = replace(dump, record=replace(dump.record, name=name))
        name = dump.record.name
        if any(status.record.name == name for status in store.studies()):
            raise _name_taken(name, store)  # before hours of copying
        try:
            return store.restore(dump, save=self.save)
        except StudyExists as e:  # somebody took the name while the checkpoints were copied
            raise _name_taken(name, store) from e

    def dump(self) -> StudyDump:
        """Return the study; its parts are read as they are gone through."""
        settings, read = self._settings, self._archive.records
        return StudyDump(
            record=settings.record,
            created_at=settings.created_at,
            started_at=settings.started_at,
            stopped=settings.stopped,
            stopped_by=settings.stopped_by,
            pins=settings.pins,
            interventions=settings.interventions,
            members=read(layout.MEMBERS, records.member),
            jobs=read(layout.JOBS, records.finished),
            points=read(layout.POINTS, _point),
            failures=read(layout.FAILURES, _failure),
        )

    def checked_dump(self) -> StudyDump:
        """As `dump`; every record is checked against those before it: leave none out."""
        agreed, read = Consistency(self.record, self._settings.pins), self._checked_records
        return replace(
            self.dump(),
            members=read(
                layout.MEMBERS,
                lambda data: agreed.member(records.member(data)),
                agreed.check_members,
            ),
            jobs=read(
                layout.JOBS, lambda data: agreed.job(records.finished(data)), agreed.check_jobs
            ),
            points=self._archive.records(layout.POINTS, lambda data: agreed.entry(_point(data))),
            failures=self._archive.records(
                layout.FAILURES, lambda data: agreed.entry(_failure(data))
            ),
        )

    def save(self, checkpoints: LocalCheckpoints) -> None:
        """Seal the checkpoints that the archive holds.

        Raises:
            ArchiveError: the files of one are others than it says.
            StorageFull: the disk has no room for them.
        """
        manifest = self._archive.manifest
        n_bytes, free = manifest.n_bytes, shutil.disk_usage(checkpoints.root.parent).free
        if n_bytes > free:
            raise StorageFull(
                f"the archive unpacks to {n_bytes} bytes, and the disk of "
                f"{checkpoints.root.parent} has {free} left: free some space"
            )
        for address in manifest.checkpoints:
            staged = checkpoints.stage("import")
            self._archive.unpack(address, staged)
            # Hashed here only, by what lies on this disk now: a file that it changed is seen, too.
            if checkpoints.seal(staged) != address:
                self._archive.check_files(address)  # names the one, if it came like this
                raise self._archive.error(f"checkpoint {address}", "other files than were written")

    def unpack(self, directory: Path) -> HeldCheckpoints:
        """Write the checkpoints that the archive holds into `directory`, each below its address.

        Raises:
            ArchiveError: names the file, the entry, and what is wrong with it.
            StorageFull: the disk has no room for them.
        """
        addresses, directories = {}, {}
        for address, packed in self._archive.manifest.checkpoints.items():
            addresses.update(dict.fromkeys(map(JobId.parse, packed.jobs), address))
            directories[address] = directory / address
            self._archive.unpack(address, directories[address])
        return HeldCheckpoints(addresses, directories)

    def _checked_records(
        self, name: str, read: Callable[[dict[str, Any]], _Record], check_whole: Callable[[], None]
    ) -> Iterator[_Record]:
        yield from self._archive.records(name, read)
        try:
            check_whole()
        except Malformed as e:
            raise self._archive.error(name, e) from e


_point = partial(records.JOB_POINT.from_json, name="point")
_failure = partial(records.FAILED.from_json, name="failure")


def _name_taken(name: str, store: Store) -> StudyExists:
    return StudyExists(
        f"name: there is a study {name!r} in {store.url} already: give the imported one another "
        "name (`evolvent import --name NEW`, or name=...)"
    )

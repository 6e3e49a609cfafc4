"""One process at one database: what it keeps of each study, and how it works on one."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from evolvent.core.algorithms import Algorithm
from evolvent.core.population import Population
from evolvent.core.study import StudyRecord
from evolvent.errors import EvolventError, UnknownStudy
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.sql.database import Cursor, Database, Reading
from evolvent.store.sql.population import PopulationCache
from evolvent.store.sql.rows import STUDY, StudyRow, decode

_NAME_AND_RECORD = "SELECT name, record FROM study WHERE id = :study"
_RECORD = "SELECT record FROM study WHERE id = :study"
_ROW = f"SELECT {STUDY} FROM study s WHERE s.id = :study"

_NEEDED = """
SELECT EXISTS (SELECT 1 FROM member WHERE study = :study AND checkpoint = :address)
    OR EXISTS (SELECT 1 FROM member WHERE study = :study AND own_checkpoint = :address)
    OR EXISTS (SELECT 1 FROM study WHERE id = :study AND best_checkpoint = :address)
    OR EXISTS (SELECT 1 FROM pin WHERE study = :study AND checkpoint = :address)
"""

_logger = logging.getLogger("evolvent")


class StudyCache:
    """What a process keeps of one study: its decoded record, its population, its checkpoints."""

    def __init__(self, study: int, text: str, database: Database, directory: Path) -> None:
        self.record = _record(text)
        self.synced = database.durable and self.record.durability == "power"
        self.checkpoints = LocalCheckpoints(directory, sync=self.synced, clock=database.clock)
        self.population = PopulationCache(study)
        self.idle = False  # nothing could be claimed last
        self.undecided = False  # what was claimed last had to be decided
        self.epoch = -1
        self._decoded = text, self.record
        self._algorithm: Algorithm | None = None

    def decode(self, text: str) -> StudyRecord:
        """Return the record of this text, decoded only when it has changed."""
        last_text, record = self._decoded
        if text != last_text:
            record = self._with_algorithm(_record(text))
            self._decoded = text, record
        return record

    def use_algorithm(self, algorithm: Algorithm) -> None:
        """Decide with this object from now on."""
        self._algorithm = algorithm
        text, record = self._decoded
        self.record = self._with_algorithm(self.record)
        self._decoded = text, self._with_algorithm(record)

    def _with_algorithm(self, record: StudyRecord) -> StudyRecord:
        return record if self._algorithm is None else replace(record, algorithm=self._algorithm)


class UnitOfWork:
    """One write transaction on one study: `with session.work(study) as work:`.

    When it is over, and on the disk if need be, the checkpoints that nothing needs any more go.

    Attributes:
        record: the study's settings, once `load_study` has been called.
        row: what changes of the study, likewise.
    """

    execute: Callable[..., Cursor]
    now: Callable[[], float]
    _sync_commit: Callable[[], None]
    record: StudyRecord
    row: StudyRow

    def __init__(
        self, session: DatabaseSession, study: int, cache: StudyCache, *, synced: bool
    ) -> None:
        self._context = session.database.write(
            synced=synced, study=study, committed=self._committed
        )
        self.study = study
        self.cache = cache
        self._session = session
        self._population: Population | None = None
        self._dropped_refs: set[str] = set()
        self._added_refs: set[str] = set()

    def load_study(self, row: StudyRow | None = None) -> None:
        """Make `row` and `record` those that this transaction sees; reads a row that is not given.

        Raises:
            UnknownStudy: it has been removed.
        """
        if row is None:
            found = self.execute(_ROW, {"study": self.study}).fetchone()
            if found is None:
                raise unknown_study(self.study)
            row = StudyRow._make(found)
        self.row = row
        cache = self.cache
        # The record is long and changes seldom: its text is read only when the epoch has moved.
        if self.row.epoch != cache.epoch:
            cache.record = cache.decode(self.execute(_RECORD, {"study": self.study}).fetchone()[0])
            cache.epoch = self.row.epoch
        self.record = cache.record

    @property
    def population(self) -> Population:
        """The newest state of all members."""
        if self._population is None:
            self._population = self.cache.population.read(self)
        return self._population

    def forget_population(self) -> None:
        """Read it anew when it is asked for again: the log has grown in this transaction."""
        self._population = None

    def sync(self) -> None:
        """Let this be on disk when the context ends, if the study's durability asks for that."""
        if self.cache.synced:
            self._sync_commit()

    def add_ref(self, address: str | None) -> None:
        """Something needs this checkpoint from now on."""
        if address is not None:
            self._added_refs.add(address)

    def drop_ref(self, *addresses: str | None) -> None:
        """Let checkpoints go, as far as nothing else needs them."""
        self._dropped_refs.update(filter(None, addresses))
        self._added_refs.difference_update(addresses)

    def __enter__(self) -> Self:
        tx = self._context.__enter__()
        self.execute, self.now, self._sync_commit = tx.execute, tx.now, tx.sync_commit
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._context.__exit__(kind, error, trace)
        # Released after COMMIT: a power cut must not leave a row that points at a deleted
        # checkpoint.
        unreferenced = self._dropped_refs - self._added_refs
        if unreferenced and error is None:
            self._session.discard(self.study, self.cache, unreferenced)

    def _committed(self) -> None:
        if self._population is not None:
            self.cache.population.confirm()


class DatabaseSession:
    """A database with what this process caches of its studies."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._caches: dict[int, StudyCache] = {}

    def work(self, study: int, *, synced: bool | None = None) -> UnitOfWork:
        """Return a context: a write transaction on a study that clears up after itself.

        Args:
            study: number of the study.
            synced: on disk when the context ends; None for what the study's durability asks.

        Raises:
            UnknownStudy: there is none of that number.
        """
        cache = self.cache(study)
        synced = cache.synced if synced is None else synced
        return UnitOfWork(self, study, cache, synced=synced)

    @contextmanager
    def loaded(self, study: int) -> Iterator[UnitOfWork]:
        """As `work`; also refuses a study that has been removed since, and knows its record."""
        with self.work(study) as work:
            work.load_study()
            yield work

    def discard(self, study: int, cache: StudyCache, unreferenced: Iterable[str]) -> None:
        """Discard those of these checkpoints that nothing needs.

        Not within the transaction that let them go: after a power cut the log must not want back
        what has been removed already. So it may be needed again: look, while nobody writes.
        """
        unneeded: list[str] = []
        discarded: list[str] = []
        try:
            # Exclusive before unlink: a report that names one of these waits for its turn,
            # finds that it is gone, and the worker seals it again.
            with self.database.exclusive(study) as tx:
                for address in sorted(unreferenced):
                    values = {"study": study, "address": address}
                    if not tx.execute(_NEEDED, values).fetchone()[0]:
                        unneeded.append(address)
                discarded = cache.checkpoints.discard(unneeded)
        except (EvolventError, OSError) as e:  # the log has been written: `collect` can try again
            _logger.warning("a checkpoint that nothing needs could not be removed: %s", e)
        # After the lock: `discard` only renamed them, and unlinking large files takes long.
        if discarded:
            cache.checkpoints.empty_trash(discarded)

    @contextmanager
    def read(self, study: int) -> Iterator[tuple[Reading, StudyRecord]]:
        """Open a snapshot of a study.

        Raises:
            UnknownStudy: there is none of that number.
        """
        cache = self.cache(study)
        with self.database.read() as tx:
            row = tx.execute(_RECORD, {"study": study}).fetchone()
            if row is None:
                raise unknown_study(study)
            yield tx, cache.decode(row[0])

    def cache(self, study: int) -> StudyCache:
        """Return what is kept of a study, read first if need be."""
        cache = self._caches.get(study)
        if cache is None:
            with self.database.read() as tx:
                row = tx.execute(_NAME_AND_RECORD, {"study": study}).fetchone()
            if row is None:
                raise unknown_study(study)
            name, text = row
            new = StudyCache(study, text, self.database, self.checkpoint_dir(name, study))
            # Of two threads that come at once, both get the one that was first.
            cache = self._caches.setdefault(study, new)
        return cache

    def decode_record(self, study: int, text: str) -> StudyRecord:
        """Return the record of a study whose text has been read."""
        cache = self._caches.get(study)
        return _record(text) if cache is None else cache.decode(text)

    def forget(self, study: int) -> None:
        self._caches.pop(study, None)

    def checkpoint_dir(self, name: str, study: int) -> Path:
        """Return where the checkpoints of a study are."""
        # What of the name may stand in a path on any system.
        slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:40] or "study"
        return self.database.checkpoints / f"{slug}-{study}"


def unknown_study(study: int) -> UnknownStudy:
    """Return the error for a number that no study has."""
    return UnknownStudy(f"no study of number {study}: it has been removed, or never was")


def _record(text: str) -> StudyRecord:
    return StudyRecord.from_json(decode(text))

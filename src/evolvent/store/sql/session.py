"""One process at one database: what it keeps of each study, and how it works on one."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from evolvent.core.algorithms import Algorithm
from evolvent.core.population import Population
from evolvent.core.study import StudyRecord
from evolvent.errors import EvolventError, UnknownStudy
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.sql.database import Cursor, Database, Reading, Transaction
from evolvent.store.sql.population import PopulationCache
from evolvent.store.sql.rows import STUDY, StudyRow, decode

_NAMED = "SELECT name, record FROM study WHERE id = :study"
_RECORD = "SELECT record FROM study WHERE id = :study"
_ROW = f"SELECT {STUDY} FROM study s WHERE s.id = :study"

_RENEW = "UPDATE study SET epoch = epoch + 1 WHERE id = :study"
_NEEDED = """
SELECT EXISTS (SELECT 1 FROM member WHERE study = :study AND checkpoint = :address)
    OR EXISTS (SELECT 1 FROM study WHERE id = :study AND best_checkpoint = :address)
    OR EXISTS (SELECT 1 FROM pin WHERE study = :study AND checkpoint = :address)
"""

_logger = logging.getLogger("evolvent")


class StudyCache:
    """What a process keeps of one study: its decoded record, its population, its checkpoints."""

    def __init__(
        self, study: int, text: str, *, directory: Path, clock: Callable[[], float]
    ) -> None:
        self.record = _record(text)
        self.synced = self.record.durability == "power"
        self.checkpoints = LocalCheckpoints(directory, sync=self.synced, clock=clock)
        self.population = PopulationCache(study)
        self.idle = False
        self.epoch = -1
        self._decoded = text, self.record
        self._algorithm: Algorithm | None = None

    def decode(self, text: str) -> StudyRecord:
        """Return the record of this text, decoded only when it has changed."""
        known, record = self._decoded
        if text != known:
            record = self._own(_record(text))
            self._decoded = text, record
        return record

    def use(self, algorithm: Algorithm) -> None:
        """Decide with this object from now on."""
        self._algorithm = algorithm
        text, record = self._decoded
        self.record, self._decoded = self._own(self.record), (text, self._own(record))

    def _own(self, record: StudyRecord) -> StudyRecord:
        return record if self._algorithm is None else replace(record, algorithm=self._algorithm)


class UnitOfWork:
    """One write transaction on one study: `with session.work(study) as work:`.

    When it is over, and on the disk if need be, the checkpoints that nothing needs any more go.

    Attributes:
        record: the study's settings, once `load_study` has been called.
        row: what changes of the study, likewise.
    """

    __slots__ = (
        "_bred",
        "_context",
        "_population",
        "_released",
        "_session",
        "_taken",
        "execute",
        "memory",
        "now",
        "record",
        "row",
        "study",
    )
    execute: Callable[..., Cursor]
    now: Callable[[], float]
    record: StudyRecord
    row: StudyRow

    def __init__(
        self, session: DatabaseSession, study: int, memory: StudyCache, *, synced: bool
    ) -> None:
        self._context = session.database.write(
            synced=synced, study=study, committed=self._committed
        )
        self.study = study
        self.memory = memory
        self._session = session
        self._bred = False
        self._population: Population | None = None
        self._released: set[str] = set()
        self._taken: set[str] = set()

    def load_study(self, row: StudyRow | None = None) -> None:
        """Make `row` and `record` those that this transaction sees.

        Args:
            row: what it has read of the study just now; None reads it.

        Raises:
            UnknownStudy: it has been removed.
        """
        self.row = self._read_row() if row is None else row
        memory = self.memory
        if self.row.epoch != memory.epoch:
            memory.record = memory.decode(
                self.execute(_RECORD, {"study": self.study}).fetchone()[0]
            )
            memory.epoch = self.row.epoch
        self.record = memory.record

    @property
    def population(self) -> Population:
        """The newest state of all members."""
        if self._population is None:
            self._bred = True
            self._population = self.memory.population.read(self, epoch=self.row.epoch)
        return self._population

    @property
    def known_population(self) -> Population | None:
        """The population if it has been asked for already."""
        return self._population

    def bump_epoch(self) -> None:
        """Make everybody read the study anew: something changed that the log does not say."""
        self.execute(_RENEW, {"study": self.study})
        self._population = None

    def add_ref(self, address: str | None) -> None:
        """Something needs this checkpoint from now on."""
        if address is not None:
            self._taken.add(address)

    def drop_ref(self, *addresses: str | None) -> None:
        """Let checkpoints go, as far as nothing else needs them."""
        self._released.update(filter(None, addresses))
        self._taken.difference_update(addresses)

    def __enter__(self) -> Self:
        tx = self._context.__enter__()
        self.execute, self.now = tx.execute, tx.now
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._context.__exit__(kind, error, trace)
        released = self._released - self._taken
        if released and error is None:
            self._session.discard(self.study, self.memory, released)

    def _committed(self) -> None:
        if self._bred:
            self.memory.population.confirm()

    def _read_row(self) -> StudyRow:
        row = self.execute(_ROW, {"study": self.study}).fetchone()
        if row is None:
            raise unknown(self.study)
        return StudyRow._make(row)


class DatabaseSession:
    """A database with the memories of its studies."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._memories: dict[int, StudyCache] = {}

    def work(self, study: int, *, synced: bool | None = None) -> UnitOfWork:
        """Return a context: a write transaction on a study that clears up after itself.

        Args:
            study: number of the study.
            synced: on disk when the context ends; None for what the study's durability asks.

        Raises:
            UnknownStudy: there is none of that number.
        """
        memory = self.memory(study)
        synced = memory.synced if synced is None else synced
        return UnitOfWork(self, study, memory, synced=synced)

    def discard(self, study: int, memory: StudyCache, released: Iterable[str]) -> None:
        """Discard those of these checkpoints that nothing needs.

        Not within the transaction that let them go: after a power cut the log must not want back
        what has been removed already. So it may have been taken up again: look, alone.
        """
        try:
            with self.database.exclusive(study) as tx:
                unneeded = [a for a in sorted(released) if not _is_needed(tx, study, a)]
                memory.checkpoints.discard(unneeded)
            if unneeded:
                memory.checkpoints.empty_trash()
        except (EvolventError, OSError) as e:  # the log has been written: `collect` can try again
            _logger.warning("a checkpoint that nothing needs could not be removed: %s", e)

    @contextmanager
    def read(self, study: int) -> Iterator[tuple[Reading, StudyRecord]]:
        """Open a snapshot of a study.

        Raises:
            UnknownStudy: there is none of that number.
        """
        memory = self.memory(study)
        with self.database.read() as tx:
            row = tx.execute(_RECORD, {"study": study}).fetchone()
            if row is None:
                raise unknown(study)
            yield tx, memory.decode(row[0])

    def memory(self, study: int) -> StudyCache:
        """Return what is kept of a study, read first if need be."""
        memory = self._memories.get(study)
        if memory is None:
            with self.database.read() as tx:
                row = tx.execute(_NAMED, {"study": study}).fetchone()
            if row is None:
                raise unknown(study)
            name, text = row
            directory = self.place(name, study)
            new = StudyCache(study, text, directory=directory, clock=self.database.clock)
            memory = self._memories.setdefault(study, new)
        return memory

    def decoded(self, study: int, text: str) -> StudyRecord:
        """Return the record of a study whose text has been read."""
        memory = self._memories.get(study)
        return _record(text) if memory is None else memory.decode(text)

    def forget(self, study: int) -> None:
        self._memories.pop(study, None)

    def place(self, name: str, study: int) -> Path:
        """Return where the checkpoints of a study are."""
        return self.directory / f"{_slug(name)}-{study}"

    @property
    def directory(self) -> Path:
        """Where the checkpoints of all studies are."""
        return self.database.checkpoints


def unknown(study: int) -> UnknownStudy:
    """Return the error for a number that no study has."""
    return UnknownStudy(f"no study of number {study}: it has been removed, or never was")


def _is_needed(tx: Transaction, study: int, address: str) -> bool:
    values = {"study": study, "address": address}
    return bool(tx.execute(_NEEDED, values).fetchone()[0])


def _record(text: str) -> StudyRecord:
    return StudyRecord.from_json(decode(text))


def _slug(name: str) -> str:
    """Return what of a name may stand in a path on any system."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:40] or "study"

"""One process at one database: what it keeps of each study, and how it works on one."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from evolvent.core.algorithms import Algorithm
from evolvent.core.study import StudyRecord
from evolvent.errors import EvolventError, UnknownStudy
from evolvent.store.checkpoints import Checkpoints
from evolvent.store.sql_breeding import Breeding
from evolvent.store.sql_log import is_needed
from evolvent.store.sql_population import PopulationCache
from evolvent.store.sql_rows import STUDY, StudyRow, decode
from evolvent.store.sqlite import SqliteDatabase, Transaction, Writing

_NAMED = "SELECT name, record FROM study WHERE id = :study"
_RECORD = "SELECT record FROM study WHERE id = :study"
_ROW = f"SELECT {STUDY} FROM study s WHERE s.id = :study"

_logger = logging.getLogger("evolvent")


class StudyMemory:
    """What a process keeps of one study: its decoded record, its population, its checkpoints."""

    def __init__(self, study: int, text: str, *, directory: Path) -> None:
        self.record = StudyRecord.from_json(decode(text))
        self.synced = self.record.durability == "power"
        self.checkpoints = Checkpoints(directory, sync=self.synced)
        self.population = PopulationCache(study)
        self.idle = False
        self.epoch = -1
        self._text = text
        self._algorithm: Algorithm | None = None

    def learn(self, text: str) -> StudyRecord:
        """Return the record of this text, decoded only when it has changed."""
        if text != self._text:
            self._text, self.record = text, self._own(StudyRecord.from_json(decode(text)))
        return self.record

    def use(self, algorithm: Algorithm) -> None:
        """Decide with this object from now on."""
        self._algorithm = algorithm
        self.record = self._own(self.record)

    def _own(self, record: StudyRecord) -> StudyRecord:
        return record if self._algorithm is None else replace(record, algorithm=self._algorithm)


class Work:
    """One write transaction on one study: `with session.work(study) as work:`.

    When it is over, and on the disk if need be, the checkpoints that nothing needs any more go.
    """

    __slots__ = ("_breedings", "_session", "_writing", "memory", "study", "tx")
    tx: Writing

    def __init__(self, session: Session, study: int, memory: StudyMemory, writing: Writing) -> None:
        self.study = study
        self.memory = memory
        self._session = session
        self._writing = writing
        self._breedings: list[Breeding] = []

    def __enter__(self) -> Work:
        self.tx = self._writing.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writing.__exit__(kind, error, trace)
        if error is None:
            released = {a for breeding in self._breedings for a in breeding.log.released}
            if released:
                self._session.discard(self.study, self.memory, released)

    def breeding(self, row: StudyRow | None = None) -> Breeding:
        """Return the study with its rules, ready for change.

        Args:
            row: what this transaction has read of the study just now; None reads it.
        """
        if row is None:
            row = self._row()
        memory = self.memory
        if row.epoch != memory.epoch:
            memory.learn(self.tx.execute(_RECORD, {"study": self.study}).fetchone()[0])
            memory.epoch = row.epoch
        breeding = Breeding(
            self.tx, self.study, record=memory.record, row=row, cache=memory.population
        )
        self._breedings.append(breeding)
        return breeding

    def _row(self) -> StudyRow:
        row = self.tx.execute(_ROW, {"study": self.study}).fetchone()
        if row is None:
            raise unknown(self.study)
        return StudyRow._make(row)


class Session:
    """A database with the memories of its studies."""

    def __init__(self, path: Path, *, create: bool) -> None:
        self.database = SqliteDatabase(path, create=create)
        self._memories: dict[int, StudyMemory] = {}

    def work(self, study: int, *, synced: bool | None = None) -> Work:
        """Return a context: a write transaction on a study that clears up after itself.

        Args:
            study: number of the study.
            synced: on disk when the context ends; None for what the study's durability asks.

        Raises:
            UnknownStudy: there is none of that number.
        """
        memory = self.memory(study)
        synced = memory.synced if synced is None else synced
        return Work(self, study, memory, self.database.write(synced=synced))

    def discard(self, study: int, memory: StudyMemory, released: Iterable[str]) -> None:
        """Discard those of these checkpoints that nothing needs.

        Not within the transaction that let them go: after a power cut the log must not want back
        what has been removed already. So it may have been taken up again: look, alone.
        """
        try:
            with self.database.alone() as tx:
                unneeded = [a for a in sorted(released) if not is_needed(tx, study, a)]
                memory.checkpoints.discard(unneeded)
            if unneeded:
                memory.checkpoints.empty_trash()
        except (EvolventError, OSError) as e:  # the log has been written: `collect` can try again
            _logger.warning("a checkpoint that nothing needs could not be removed: %s", e)

    @contextmanager
    def read(self, study: int) -> Iterator[tuple[Transaction, StudyRecord]]:
        """Open a snapshot of a study.

        Raises:
            UnknownStudy: there is none of that number.
        """
        memory = self.memory(study)
        with self.database.read() as tx:
            row = tx.execute(_RECORD, {"study": study}).fetchone()
            if row is None:
                raise unknown(study)
            yield tx, memory.learn(row[0])

    def memory(self, study: int) -> StudyMemory:
        """Return what is kept of a study, read first if need be."""
        memory = self._memories.get(study)
        if memory is None:
            with self.database.read() as tx:
                row = tx.execute(_NAMED, {"study": study}).fetchone()
            if row is None:
                raise unknown(study)
            name, text = row
            directory = self._directory / f"{_slug(name)}-{study}"
            memory = self._memories.setdefault(study, StudyMemory(study, text, directory=directory))
        return memory

    def decoded(self, study: int, text: str) -> StudyRecord:
        """Return the record of a study whose text has been read."""
        memory = self._memories.get(study)
        return StudyRecord.from_json(decode(text)) if memory is None else memory.learn(text)

    def forget(self, study: int) -> None:
        self._memories.pop(study, None)

    @property
    def _directory(self) -> Path:
        path = self.database.path
        return path.with_name(f"{path.stem}.checkpoints")


def unknown(study: int) -> UnknownStudy:
    """Return the error for a number that no study has."""
    return UnknownStudy(f"no study of number {study}: it has been removed, or never was")


def _slug(name: str) -> str:
    """Return what of a name may stand in a path on any system."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:40] or "study"

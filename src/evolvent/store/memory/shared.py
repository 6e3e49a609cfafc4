"""What memory stores of one name share: studies, a lock, and a directory for checkpoints."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evolvent.core.heads import first_heads
from evolvent.core.study import StudyRecord
from evolvent.errors import StudyExists, UnknownStudy
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.idempotency import IdempotencyCache
from evolvent.store.memory.study import MemoryStudy, Slot
from evolvent.store.memory.tokens import MemoryTokens
from evolvent.store.tokens import Tokens

_by_name: dict[str, SharedStudies] = {}
_by_name_lock = threading.Lock()


class SharedStudies:
    """The studies, each replaced as a whole by whoever changes it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lock = threading.RLock()
        self.studies: dict[int, MemoryStudy] = {}
        self.tokens = Tokens(MemoryTokens(), quick=True)
        self.numbers = itertools.count(1)
        self.answers = IdempotencyCache()
        self.directory = Path(tempfile.mkdtemp(prefix="evolvent-"))
        # Also runs when the process ends or nobody holds the contents any more.
        self._remove = weakref.finalize(self, _remove, self.directory, os.getpid())

    @classmethod
    def named(cls, name: str) -> SharedStudies:
        """Return the contents of that name, the same ones throughout this process."""
        url = f"memory://{name}"
        if not name:
            return cls(url)
        with _by_name_lock:
            if name not in _by_name:
                _by_name[name] = cls(url)
            return _by_name[name]

    def create(self, record: StudyRecord) -> int:
        """Add a new study; return its number."""
        if any(study.record.name == record.name for study in self.studies.values()):
            raise StudyExists(f"name: there is a study {record.name!r} in {self.url} already")
        number = next(self.numbers)
        checkpoints = LocalCheckpoints(self.directory / str(number), sync=False)
        slots = [Slot(head) for head in first_heads(record)]
        self.add(MemoryStudy(number, record, checkpoints, slots, time.time()))
        return number

    def add(self, study: MemoryStudy) -> None:
        """Let a study appear, which has a number of its own."""
        study.answers = self.answers
        self.studies[study.id] = study

    @contextmanager
    def read(self, number: int) -> Iterator[MemoryStudy]:
        """Look at a study, which nobody changes meanwhile."""
        with self.lock:
            study = self.studies.get(number)
            if study is None:
                raise UnknownStudy(f"no study number {number} in {self.url}")
            yield study

    @contextmanager
    def change(self, number: int) -> Iterator[MemoryStudy]:
        """Change a draft of a study, which takes effect whole, or not at all on an exception."""
        with self.read(number) as study:
            draft = study.copy()
            yield draft
            self.studies[number] = draft
            draft.collect()
        draft.checkpoints.empty_trash()

    def close(self) -> None:
        self._remove()


def _remove(directory: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked child, whose parent goes on
        shutil.rmtree(directory, ignore_errors=True)

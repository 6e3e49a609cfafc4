"""What the reference holds: studies, a lock, answers to calls with a key, and checkpoints."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from evolvent.core.heads import first_heads
from evolvent.core.study import StudyRecord
from evolvent.errors import StudyExists, UnknownStudy
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.sql.idempotency import check_same
from tests.contract.reference.study import ReferenceStudy, Slot

_Answer = TypeVar("_Answer")


class Answers:
    """What was answered to calls with a key."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, Any]] = {}

    def run(self, key: str | None, call: str, change: Callable[[], _Answer]) -> _Answer:
        """Return what `change` returns, or what it did the first time that `key` was given."""
        if key is None:
            return change()
        if key not in self._known:
            self._known[key] = call, change()
        answer: _Answer = self.before(key, call)
        return answer

    def before(self, key: str, call: str) -> Any:
        """Return what a call of this key was answered; None if there was none."""
        if key not in self._known:
            return None
        first, answer = self._known[key]
        check_same(key, first, call)
        return answer


class Studies:
    """The studies, each replaced as a whole by whoever changes it."""

    def __init__(self, directory: Path) -> None:
        self.url = "the reference"
        self.lock = threading.RLock()
        self.studies: dict[int, ReferenceStudy] = {}
        self.numbers = itertools.count(1)
        self.answers = Answers()
        self.directory = directory

    def create(self, record: StudyRecord) -> int:
        """Add a new study; return its number."""
        if any(study.record.name == record.name for study in self.studies.values()):
            raise StudyExists(f"name: there is a study {record.name!r} in {self.url} already")
        number = next(self.numbers)
        checkpoints = LocalCheckpoints(self.directory / str(number), sync=False)
        slots = [Slot(head) for head in first_heads(record)]
        self.add(ReferenceStudy(number, record, checkpoints, slots, time.time()))
        return number

    def add(self, study: ReferenceStudy) -> None:
        """Let a study appear, which has a number of its own."""
        self.studies[study.id] = study

    @contextmanager
    def read(self, number: int) -> Iterator[ReferenceStudy]:
        """Look at a study, which nobody changes meanwhile."""
        with self.lock:
            study = self.studies.get(number)
            if study is None:
                raise UnknownStudy(f"no study number {number} in {self.url}")
            yield study

    @contextmanager
    def change(self, number: int) -> Iterator[ReferenceStudy]:
        """Change a draft of a study, which takes effect whole, or not at all on an exception."""
        with self.read(number) as study:
            draft = study.copy()
            yield draft
            self.studies[number] = draft
            draft.collect()
        draft.checkpoints.empty_trash()

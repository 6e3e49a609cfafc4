"""What a store promises of whole studies: the part of the protocol that archives need."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from evolvent.store.dump import Chosen, StudyDump
from evolvent.store.holding import Held
from evolvent.store.incoming import Save


class WholeStudies(Protocol):
    """Studies taken out, and put in."""

    def dump(
        self, study: int, *, checkpoints: Chosen
    ) -> AbstractContextManager[tuple[StudyDump, Held]]:
        """Give a whole study as of one instant, and the checkpoints that are to come along.

        Nobody waits for it, and what it gives stays the same while the study goes on. It can be
        read only within the context.

        Raises:
            UnknownJob: a job whose checkpoint is wanted is not done.
            CheckpointMissing: one is not on disk; names the job and the address.
        """
        ...

    def restore(self, dump: StudyDump, *, save: Save, key: str | None = None) -> int:
        """Write a whole study with its checkpoints in one transaction; return its number.

        Times, attempts and reasons stay as they were. A study whose members lack checkpoints to
        go on from is stopped, and `resume` refuses it for as long as they lack.

        Args:
            dump: the study; should it raise when it is gone through, nothing has been written.
            save: called with an empty place, to seal there what comes along; likewise.
            key: as in `evolvent.store.protocol`.

        Raises:
            StudyExists: the name is taken.
        """
        ...

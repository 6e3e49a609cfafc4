"""What those who watch a run get from its engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from evolvent.store.records import MemberView, StudyStatus


class Observer(Protocol):
    """Sees a run from its start to its end; called in one thread, several times a second."""

    def start(self, status: StudyStatus) -> None:  # noqa: ARG002 - silence
        return

    def update(self, status: StudyStatus, members: Callable[[], list[MemberView]]) -> None:  # noqa: ARG002 - silence
        """Show the status; `members` is only called when they are shown."""
        return

    def line(self, text: str) -> None:  # noqa: ARG002 - silence
        """Show a line: what a worker printed, what happened to one, what a run warns of."""
        return

    def finish(self, status: StudyStatus, summary: str) -> None:  # noqa: ARG002 - silence
        return

    def close(self) -> None:
        """Let go of the terminal: called at the end, also when the run ends by an error."""
        return


class NullObserver(Observer):
    """Watches nothing."""

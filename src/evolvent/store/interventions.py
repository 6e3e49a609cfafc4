"""What people do to a study: its log does not tell, and is not understood without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

Facts: TypeAlias = Mapping[str, Any]


class InterventionKind(StrEnum):
    """What was done, and the facts that go with it. Kept for good: they are stored and served."""

    EXTENDED = "extended"  # `before` and `after`: its rounds, which may have become fewer
    RETARGETED = "retargeted"  # `before` and `after`: its targets, None for none
    STOPPED = "stopped"  # `reason`
    RESUMED = "resumed"  # `reason` and `stopped_by` of the stop; None, None: all had failed
    PUSHED = "pushed"  # `job`: the first one of the member that came


@dataclass(frozen=True, slots=True)
class Intervention:
    """What somebody did to a study.

    Attributes:
        at: seconds since 1970 on the store's clock.
        facts: by name, those of its kind.
        by: who: `user@host`; over a service the name of the token.
    """

    at: float
    kind: InterventionKind
    facts: Facts
    by: str

    @property
    def words(self) -> str:
        """What was done: "extended from 20 to 40 rounds"."""
        return _WORDS[self.kind](self.facts)


def _extended(facts: Facts) -> str:
    before, after = facts["before"], facts["after"]
    return f"{'extended' if after > before else 'cut short'} from {before} to {after} rounds"


def _retargeted(facts: Facts) -> str:
    before, after = facts["before"], facts["after"]
    if before is None:
        return f"target set to {after:g}"
    return f"target {before:g} " + ("removed" if after is None else f"changed to {after:g}")


def _stopped(facts: Facts) -> str:
    reason = _line(facts["reason"])
    return reason if reason.startswith("stopped") else f"stopped: {reason}"


def _resumed(facts: Facts) -> str:
    if facts["stopped_by"] == "hand":
        return "resumed"  # why it had been stopped is told just before
    return f"resumed after: {_line(facts['reason'] or 'all members had failed')}"


def _pushed(facts: Facts) -> str:
    return f"pushed {facts['job']}"


def _line(text: str) -> str:
    """Return a reason without what follows its first line, such as a traceback."""
    return text.partition("\n")[0]


_WORDS: Mapping[InterventionKind, Callable[[Facts], str]] = {
    InterventionKind.EXTENDED: _extended,
    InterventionKind.RETARGETED: _retargeted,
    InterventionKind.STOPPED: _stopped,
    InterventionKind.RESUMED: _resumed,
    InterventionKind.PUSHED: _pushed,
}

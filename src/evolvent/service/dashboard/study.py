"""What the pages of studies say: how far, how long, how good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.core.records import JobState
from evolvent.store.interventions import Intervention
from evolvent.store.protocol import Store
from evolvent.store.records import FailedAttempt, StudyState, StudyStatus

_PACE_OF = 60  # jobs: the pace of the last ones says more than that since the start
_FAILURES = 5
_INTERVENTIONS = 20


@dataclass(frozen=True, slots=True)
class StudySummary:
    """How a study stands, for people.

    Attributes:
        left_s: seconds to the end at the pace of the last jobs; None while nothing is trained, and
            while that cannot be told.
        failures, interventions: the newest ones, the newest first.
    """

    status: StudyStatus
    left_s: float | None = None
    failures: Sequence[FailedAttempt] = ()
    interventions: Sequence[Intervention] = ()

    @property
    def total(self) -> int:
        return max(self.status.n_total, self.status.n_finished)  # a bar is never more than full

    @property
    def state(self) -> str:
        """What people call it: an open study in which something is trained is running."""
        return "running" if _is_training(self.status) else self.status.state.value

    def count(self, state: str) -> int:
        return self.status.counts[JobState(state)]

    @property
    def words(self) -> str:
        """One line, for those who listen to the page."""
        value = self.status.best_value
        metric, note = self.status.record.metric, self.status.best_note
        best = "" if value is None else f", best {metric} {value:.4g}{note}"
        lost = f", {self.status.lost} running ones lost" if self.status.lost else ""
        return f"{self.state}: {self.status.n_finished} of {self.total} jobs finished{lost}{best}"


def summarize(store: Store, status: StudyStatus) -> StudySummary:
    """Return how a study stands, with its pace, its last failures and what was last done to it."""
    failures = store.failures(status.id, limit=_FAILURES)[::-1]
    done = store.interventions(status.id, limit=_INTERVENTIONS)[::-1]
    return StudySummary(status, _left_s(store, status), failures, done)


def _left_s(store: Store, status: StudyStatus) -> float | None:
    if not _is_training(status):
        return None
    after = max(0, status.n_finished - _PACE_OF)
    times: list[float] = [row[0] for row in store.scan(status.id, ["finished_at"], after=after)]
    if len(times) < 2 or max(times) == min(times):
        return None
    pace_s = (max(times) - min(times)) / (len(times) - 1)
    # Jobs that take longer than those before, or of which many are lost: the silence counts, too.
    now = status.read_at or max(times)
    return status.left_s(max(pace_s, (now - min(times)) / len(times)))


def _is_training(status: StudyStatus) -> bool:
    return status.state is StudyState.OPEN and status.counts[JobState.RUNNING] > status.lost


def facts(status: StudyStatus) -> dict[str, Any]:
    """Return the settings of a study, for people."""
    record = status.record
    return {
        "metric": f"{record.metric} ({'highest' if record.mode == 'max' else 'lowest'} is best)",
        "algorithm": str(record.algorithm),
        "population": f"{status.members} members, {record.rounds} rounds each",
        "order": "synchronous" if record.synchronous else "asynchronous",
        "seed": record.seed,
        "target": record.target,
        "best by": record.best,
        "trainable": record.trainable,
    } | {f"space {name}": str(distribution) for name, distribution in record.space.items()}

"""What the pages of studies say: how far, how long, how good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.core.records import JobState
from evolvent.service.auth.roles import Identity
from evolvent.store.protocol import Store
from evolvent.store.records import FailedAttempt, StudyState, StudyStatus

_PACE_OF = 60  # jobs: the pace of the last ones says more than that since the start
_FAILURES = 5


@dataclass(frozen=True, slots=True)
class StudySummary:
    """How a study stands, for people.

    Attributes:
        finished, total: jobs.
        left_s: seconds to the end at the pace of the last jobs; None while that cannot be told.
        best: value of the metric, as training reported it.
    """

    status: StudyStatus
    finished: int
    total: int
    left_s: float | None
    best: float | None
    failures: Sequence[FailedAttempt] = ()

    @property
    def state(self) -> str:
        """What people call it: an open study in which something is trained is running."""
        training = self.status.state is StudyState.OPEN and self.count("running")
        return "running" if training else self.status.state.value

    def count(self, state: str) -> int:
        return self.status.counts.get(JobState(state), 0)

    @property
    def words(self) -> str:
        """One line, for those who listen to the page."""
        best = "" if self.best is None else f", best {self.status.record.metric} {self.best:.4g}"
        return f"{self.state}: {self.finished} of {self.total} jobs finished{best}"


def summarize(store: Store, status: StudyStatus, *, closely: bool = False) -> StudySummary:
    """Return how a study stands; `closely` with its pace and its last failures."""
    counts, record = status.counts, status.record
    finished = counts.get(JobState.DONE, 0) + counts.get(JobState.FAILED, 0)
    total = max(status.members * record.rounds, finished)
    best = None if status.best_score is None else record.score(status.best_score)
    if not closely:
        return StudySummary(status, finished, total, None, best)
    left_s = None
    if status.state is StudyState.OPEN and finished > 1:
        after = max(0, finished - _PACE_OF)
        times = [row[0] for row in store.scan(status.id, ["finished_at"], after=after)]
        if len(times) > 1 and max(times) > min(times):
            left_s = (total - finished) * (max(times) - min(times)) / (len(times) - 1)
    failures = store.failures(status.id, limit=_FAILURES)[::-1]
    return StudySummary(status, finished, total, left_s, best, failures)


def visible(store: Store, identity: Identity) -> list[StudyStatus]:
    """Return the studies that somebody may see, the newest first."""
    studies = store.studies()[::-1]
    return [s for s in studies if identity.study is None or s.record.name == identity.study]


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
        "trainable": record.trainable,
    } | {f"space {name}": str(distribution) for name, distribution in record.space.items()}

"""How far a study was each time the population had trained another round on average."""

from __future__ import annotations

from dataclasses import dataclass

from evolvent.core.study import StudyRecord
from evolvent.engines.loggers.protocol import Entry, change_text


@dataclass(frozen=True, slots=True)
class StudyProgress:
    """What loggers write of a study as a whole.

    Attributes:
        rounds: how many rounds the population has trained on average.
        best: the best value of the metric so far; None when no job is done yet.
        copies: one text for every copy since the progress before.
    """

    rounds: float
    best: float | None
    copies: tuple[str, ...]


class ProgressTracker:
    """Adds entries up; gives the progress whenever as many jobs finished as there are members."""

    def __init__(self, record: StudyRecord) -> None:
        self._record = record
        self._n_jobs = 0
        self._best: float | None = None
        self._copies: list[str] = []

    def take(self, entry: Entry) -> StudyProgress | None:
        """Take the next entry of the log; return the progress after it if it closes a round."""
        self._n_jobs += 1
        score = entry.job.score
        if score is not None and (self._best is None or score > self._best):
            self._best = score
        if entry.copied is not None:
            self._copies.append(f"- {change_text(entry)}")
        if self._n_jobs % self._record.population:
            return None
        progress = self.now()
        self._copies = []
        return progress

    def now(self) -> StudyProgress:
        """Return how it stands, within a round, too."""
        best = None if self._best is None else self._record.score(self._best)
        return StudyProgress(self._n_jobs / self._record.population, best, tuple(self._copies))

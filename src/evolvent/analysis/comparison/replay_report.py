"""What a replay came to, beside the original and beside its last hyperparameters alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from evolvent.analysis.comparison import text
from evolvent.analysis.comparison.statistics import (
    Estimate,
    SeedComparison,
    Verdict,
    difference,
    mean_of,
    spread,
)
from evolvent.analysis.schedule.schedule import Schedule
from evolvent.core.records import JobId
from evolvent.core.study import Mode


@dataclass(frozen=True, slots=True)
class Original:
    """What a replay is held against.

    Attributes:
        study: the study that was replayed.
        job: its best job; None when it has none.
        value: the metric of that job.
        rounds: how many rounds that job's weights had been trained.
        jobs: how many jobs it is the best of.
        own: whether the schedule is the one that made that job.
    """

    study: str
    job: JobId | None
    value: float | None
    rounds: int
    jobs: int
    own: bool


@dataclass(frozen=True, slots=True)
class ReplayArm:
    """Fresh models, one a seed, trained alike.

    Attributes:
        study: the study that holds them.
        scores: for each seed the metric after its last round; None when it has not come so far.
        failed: for each seed that failed: the job, and why.
    """

    study: str
    scores: tuple[float | None, ...]
    failed: tuple[str, ...]

    @property
    def values(self) -> list[float]:
        return [score for score in self.scores if score is not None]

    @property
    def mean(self) -> Estimate | None:
        return mean_of(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        return spread(self.values)


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """How a replay ended. Values are those of the metric, after the last round of each seed.

    Attributes:
        metric, mode: the objective.
        schedule: as it was trained, round by round.
        original: what it is held against.
        replay: models trained under the schedule.
        last: models trained with its last hyperparameters only, same seeds; None where that was
            not asked for, not begun, or is the same because the schedule is constant.
        interrupted: whether it was cut short; the same call goes on.
    """

    metric: str
    mode: Mode
    schedule: Schedule
    original: Original
    replay: ReplayArm
    last: ReplayArm | None
    interrupted: bool

    @property
    def against_original(self) -> Estimate | None:
        """The replay minus the original; None without either."""
        return mean_of(apart) if (apart := self._apart_from_original()) else None

    @property
    def against_last(self) -> Estimate | None:
        """The replay minus the last hyperparameters only, seed by seed; None without either."""
        both = self._pairs()
        return difference(*map(list, zip(*both, strict=True)), paired=True) if both else None

    @property
    def judged(self) -> dict[str, SeedComparison]:
        """What the seeds say of the differences to `original` and `last`, where there are any."""
        apart = [a - b for a, b in self._pairs()]
        found = {
            "original": (self.against_original, self._apart_from_original()),
            "last": (self.against_last, apart),
        }
        return {
            name: SeedComparison.of(
                estimate, error=spread(each) or 0.0, between=self.replay.sd, mode=self.mode
            )
            for name, (estimate, each) in found.items()
            if estimate is not None
        }

    def _apart_from_original(self) -> list[float]:
        value = self.original.value
        return [] if value is None else [score - value for score in self.replay.values]

    def _pairs(self) -> list[tuple[float, float]]:
        if self.last is None:
            return []
        scores = zip(self.replay.scores, self.last.scores, strict=True)
        return [(a, b) for a, b in scores if a is not None and b is not None]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        judged = self.judged
        return {
            "metric": self.metric,
            "mode": self.mode,
            "rounds": self.schedule.total,
            "interrupted": self.interrupted,
            "original": asdict(self.original),
            "replay": _arm_json(self.replay),
            "last": None if self.last is None else _arm_json(self.last),
            "minus": {
                name: None
                if (found := judged.get(name)) is None
                else {
                    **asdict(found.estimate),
                    "verdict": found.verdict,
                    "seeds_needed": found.needed,
                }
                for name in ("original", "last")
            },
            "schedule": [
                {"start": s.start, "length": s.length, "hyperparameters": s.hyperparameters}
                for s in self.schedule.segments
            ],
        }

    def __str__(self) -> str:
        return "\n".join(line.text for line in self.lines())

    def lines(self) -> list[text.Line]:
        """Return it line by line, for who shows what stands out."""
        whose = f"the schedule of {self.original.job}" if self.original.own else "a given schedule"
        rounds = text.counted(self.schedule.total, "round")
        seeds = text.counted(len(self.replay.scores), "seed")
        head = f"replay of {self.original.study}: {whose}, {rounds}, {seeds}"
        return list(text.report_lines(head, _table(self), _sentences(self)))


def _arm_json(arm: ReplayArm) -> dict[str, Any]:
    return {**asdict(arm), "mean": None if arm.mean is None else asdict(arm.mean), "sd": arm.sd}


def _table(r: ReplayReport) -> Iterator[tuple[str, ...]]:
    goal = "maximised" if r.mode == "max" else "minimised"
    arms = [("replay", r.replay), ("last hyperparameters only", r.last)]
    present = [(name, arm) for name, arm in arms if arm is not None]
    names = {"original": "replay minus original", "last": "replay minus last only"}
    judged = r.judged
    digits = text.decimals(
        [r.original.value, *(value for _, arm in present for value in arm.scores)],
        [*(arm.sd for _, arm in present), *(d.estimate.value for d in judged.values())],
    )
    yield (f"{r.metric}, {goal}", *text.TITLES)
    if r.original.value is not None:
        value = text.number(r.original.value, digits)
        yield (f"original, {r.original.job}", value, "-", "", "1", "")
    for name, arm in present:
        yield (name, *text.mean_cells(arm.mean, arm.sd, digits))
    for name, d in judged.items():
        yield (names[name], *text.difference_cells(d.estimate, d.verdict, digits))


def _sentences(r: ReplayReport) -> Iterator[str]:
    judged = r.judged
    if (beside := judged.get("original")) is not None:
        yield from _verdict(_BESIDE_ORIGINAL, beside, r)
        if r.original.rounds != r.schedule.total:
            had, has = (text.counted(n, "round") for n in (r.original.rounds, r.schedule.total))
            yield f"Not the same training: the original had {had}, the replay has {has}."
    if len(r.schedule.segments) == 1:
        yield "The schedule is constant: its last hyperparameters are all there is to it."
    if (beside := judged.get("last")) is not None:
        yield from _verdict(_BESIDE_LAST, beside, r)
    yield from _cautions(r, [d.estimate for d in judged.values()])


def _cautions(r: ReplayReport, differences: list[Estimate]) -> Iterator[str]:
    unknown = [d for d in differences if d.low is None]
    if any(d.n == 1 for d in unknown):
        yield "One seed tells nothing about noise: replay with three or more."
    if any(d.n > 1 for d in unknown):
        yield (
            "All seeds gave the same value: the training does not use job.seed, so this says "
            "nothing about noise."
        )
    for arm in (r.replay, r.last):
        for failure in arm.failed if arm is not None else ():
            yield f"Failed and left out of the mean: {failure}."
    if r.interrupted:
        yield "Interrupted: the same command goes on."


_BESIDE_ORIGINAL: Mapping[Verdict, str] = {
    "as good": "The replay is as good as the original: they lie closer together than two seeds do.",
    "better": "The replay is better than the original.",
    "worse": "The replay is worse than the original, the best of {jobs} jobs: such a score is "
    "always partly luck.",
    "undecided": "{seeds} cannot tell whether the replay is as good as the original: about "
    "{needed} would (under another name).",
}
_BESIDE_LAST: Mapping[Verdict, str] = {
    "as good": "What the schedule adds to its last hyperparameters is less than what lies between "
    "two seeds.",
    "better": "The schedule is better than its last hyperparameters alone.",
    "worse": "The schedule is worse than its last hyperparameters alone.",
    "undecided": "{seeds} cannot tell whether the schedule is better than its last "
    "hyperparameters alone: about {needed} would.",
}


def _verdict(words: Mapping[Verdict, str], d: SeedComparison, r: ReplayReport) -> Iterator[str]:
    """Say what a difference means, if that is known."""
    if sentence := words.get(d.verdict):
        seeds = text.counted(d.estimate.n, "seed")
        yield sentence.format(jobs=r.original.jobs, seeds=seeds, needed=d.needed)

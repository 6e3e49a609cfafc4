"""A comparison as a value: arms, their means over seeds, what lies between them; as text too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from evolvent.analysis.comparison import statistics, text
from evolvent.analysis.comparison.statistics import Estimate, Verdict
from evolvent.core.records import JobId
from evolvent.core.study import Mode


@dataclass(frozen=True, slots=True)
class Seed:
    """One study: what it had come to when the common budget was used up.

    Attributes:
        study: its name.
        seed: its seed.
        jobs: how many jobs it has trained in all, failed ones included.
        values: by figure, in the metric's own unit; None where there is none.
        job: its best job by validation within the budget; None when none was done.
    """

    study: str
    seed: int
    jobs: int
    values: Mapping[str, float | None]
    job: JobId | None


@dataclass(frozen=True, slots=True)
class Arm:
    """Studies that differ by their seeds only."""

    name: str
    seeds: tuple[Seed, ...]

    def values(self, figure: str) -> list[float]:
        """Return the values there are of a figure, one a study."""
        return [value for s in self.seeds if (value := s.values[figure]) is not None]

    def mean(self, figure: str) -> Estimate | None:
        """Return the mean of a figure over the seeds with its interval; None without any."""
        values = self.values(figure)
        return statistics.mean_of(values) if values else None

    def sd(self, figure: str) -> float | None:
        """Return the standard deviation of a figure over the seeds; None of fewer than two."""
        return statistics.spread(self.values(figure))


@dataclass(frozen=True, slots=True)
class Difference:
    """One arm minus another, by one figure.

    Attributes:
        verdict: whether `arm` is better, as good, or that is undecided or unknown; and how many
            seeds would decide: see `SeedComparison`.
    """

    figure: str
    arm: str
    other: str
    estimate: Estimate
    verdict: Verdict
    needed: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Arms at equal compute.

    Attributes:
        metric, mode: the objective of all the studies.
        budget: how many jobs of every study were looked at: the first ones to finish.
        test: name of the test metric, None without.
        window: the mean of how many scores along its lineage makes a job the best; 1: its score.
        modes: by figure, whether more or less of it is better. The figures are `best`: the best
            value of the metric; `area`: the mean, over the jobs of the budget, of the best value
            so far, that is, the area below its curve divided by the jobs; and the test metric in
            the job that was best by validation.
        arms: in the order in which they were given.
        differences: the first arm minus every other, by every figure that both have.
        unequal: whether some study has trained more jobs than another.
        notes: what else a reader must know.
    """

    metric: str
    mode: Mode
    budget: int
    test: str | None
    window: int
    modes: Mapping[str, Mode]
    arms: tuple[Arm, ...]
    differences: tuple[Difference, ...]
    unequal: bool
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(line.text for line in self.lines())

    def lines(self) -> list[text.Line]:
        """Return it line by line, for who shows what stands out."""
        return list(_lines(self))

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for every mean and every difference, as a table for programs."""
        rows = []
        for figure in self.modes:
            for arm in self.arms:
                found = arm.mean(figure)
                rows.append({"figure": figure, "arm": arm.name, "minus": None, **_numbers(found)})
                rows[-1]["sd"] = arm.sd(figure)
            for d in self.differences:
                if d.figure == figure:
                    row = {"figure": figure, "arm": d.arm, "minus": d.other, "verdict": d.verdict}
                    rows.append(row | {"seeds_needed": d.needed} | _numbers(d.estimate))
        return [{title: row.get(title) for title in ROW} for row in rows]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON, study by study too."""
        return {
            "metric": self.metric,
            "mode": self.mode,
            "budget": self.budget,
            "window": self.window,
            "unequal": self.unequal,
            "modes": dict(self.modes),
            "arms": [
                {"name": arm.name, "studies": [asdict(seed) for seed in arm.seeds]}
                for arm in self.arms
            ],
            "figures": self.rows(),
            "notes": list(self.notes),
        }


ROW = ("figure", "arm", "minus", "value", "sd", "low", "high", "n", "paired", "method", "verdict",
       "seeds_needed")  # fmt: skip


def _numbers(estimate: Estimate | None) -> dict[str, Any]:
    return {"n": 0} if estimate is None else asdict(estimate)


def _lines(c: Comparison) -> Iterator[text.Line]:
    goal = "maximised" if c.mode == "max" else "minimised"
    jobs = "first job" if c.budget == 1 else f"first {c.budget} jobs"
    if c.unequal:
        trained = ", ".join(f"{s.study} {s.jobs}" for arm in c.arms for s in arm.seeds)
        alarm = "UNEQUAL COMPUTE"
        yield from text.wrapped(f"{alarm}. Jobs trained: {trained}.", alarm=alarm)
        yield text.Line(f"Compared at the common budget: the {jobs} of every study.")
        yield text.Line("")
    head = f"{c.metric}, {goal}: the {jobs} of every study"
    sentences = [*_sentences(c), *(f"Note: {note}." for note in c.notes)]
    yield from text.report_lines(head, _table(c), sentences)


def _table(c: Comparison) -> Iterator[tuple[str, ...]]:
    yield ("", *text.TITLES)
    for figure in c.modes:
        note = ": best so far, mean over jobs" if figure == "area" else ""
        yield (f"{_title(c, figure)}{note}",)
        between = [d for d in c.differences if d.figure == figure]
        means = [(arm, arm.mean(figure)) for arm in c.arms]
        digits = text.decimals(
            [None if mean is None else mean.value for _, mean in means],
            [*(arm.sd(figure) for arm in c.arms), *(d.estimate.value for d in between)],
        )
        for arm, mean in means:
            yield (f"  {arm.name}", *text.mean_cells(mean, arm.sd(figure), digits))
        for d in between:
            name = "difference" if len(c.arms) == 2 else f"minus {d.other}"
            yield (f"  {name}", *text.difference_cells(d.estimate, d.verdict, digits))


def _title(c: Comparison, figure: str) -> str:
    match figure:
        case "best":
            note = f" (mean of the last {c.window})" if c.window > 1 else ""
            return f"best {c.metric}{note}"
        case "area":
            return "area"
        case _:
            return f"{figure} of the best by {c.metric}"


def _sentences(c: Comparison) -> Iterator[str]:
    for other in c.arms[1:]:
        between = [d for d in c.differences if d.other == other.name]
        for verdict in ("better", "worse", "as good"):
            if found := [_title(c, d.figure) for d in between if d.verdict == verdict]:
                than = "as" if verdict == "as good" else "than"
                why = ", closer than two seeds" if verdict == "as good" else ""
                yield f"{c.arms[0].name} is {verdict} {than} {other.name} in {_listed(found)}{why}."
        for d in between:
            if d.verdict == "undecided":
                yield (
                    f"{text.counted(d.estimate.n, 'seed')} cannot tell which of {d.arm} and "
                    f"{d.other} is better in {_title(c, d.figure)}: about {d.needed} would."
                )
    unknown = [d for d in c.differences if d.verdict == "unknown"]
    if alike := [_title(c, d.figure) for d in unknown if d.estimate.n > 1]:
        yield (
            f"All seeds of an arm gave the same {_listed([*dict.fromkeys(alike)])}, which says "
            "nothing about noise."
        )
    if any(d.estimate.n == 1 for d in unknown):
        yield (
            "One seed tells nothing about noise: train studies with other seeds too, and compare "
            "the groups."
        )
    yield from _methods(c)


def _listed(titles: list[str]) -> str:
    *most, last = titles
    return f"{', '.join(most)} and {last}" if most else last


def _methods(c: Comparison) -> Iterator[str]:
    pairing = {d.estimate.paired for d in c.differences if d.verdict != "unknown"}
    if pairing == {True}:
        yield "Differences are taken seed by seed."
    methods = {d.estimate.method for d in c.differences}
    if "t" in methods:
        n = statistics.LEAST_TO_RESAMPLE
        yield f"Intervals are Student's t: below {n} seeds a bootstrap is too narrow."
    if "bootstrap" in methods:
        yield "Intervals are percentile bootstraps, widened for so few seeds."

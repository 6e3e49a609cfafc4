"""What a few seeds say: the mean, or a difference of means, with the interval it may lie in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, TypeAlias

import numpy as np

from evolvent.analysis.columns import Numbers
from evolvent.core.exploit.welch import student_tail
from evolvent.core.study import Mode

LEVEL = 0.95
LEAST_FOR_VERDICT = 3
"""With two seeds the spread is a guess, and an interval around it too."""
LEAST_TO_RESAMPLE = 6
"""With fewer seeds no resampling reaches 95 %: of three, one time in four all lie on one side."""
_RESAMPLES = 10_000
_SEED = 0

Verdict: TypeAlias = Literal["better", "worse", "as good", "undecided", "unknown"]
Method: TypeAlias = Literal["bootstrap", "t", "none"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds, or the difference of two.

    Attributes:
        value: the mean, or the difference.
        low, high: the 95 % interval; None when there are too few seeds for one, or when all of
            them gave the same value.
        n: how many seeds, of the smaller side.
        paired: whether a difference was taken seed by seed.
        method: `"bootstrap"`, `"t"` (Student's or Welch's, with fewer than six seeds), `"none"`.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    paired: bool = False
    method: Method = "none"

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out 0, so that the sign is no matter of luck."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    def verdict(self, mode: Mode) -> Verdict:
        """Return what its sign is known to mean: `"undecided"` when the interval holds 0.

        Args:
            mode: whether more or less is better.
        """
        if self.low is None:
            return "unknown"
        if not self.sure:
            return "undecided"
        return "better" if (self.value > 0) == (mode == "max") else "worse"


@dataclass(frozen=True, slots=True)
class SeedComparison:
    """What seeds can say of a difference.

    Attributes:
        estimate: the difference and its interval.
        verdict: `"better"`, `"worse"`: the interval leaves out 0; `"as good"`: it lies within one
            standard deviation between seeds; `"undecided"`: neither, or fewer than three seeds;
            `"unknown"`: there is no interval.
        needed: about how many seeds would decide, if they spread and differ as these do; None
            where nothing is undecided.
    """

    estimate: Estimate
    verdict: Verdict
    needed: int | None = None

    @classmethod
    def of(
        cls, estimate: Estimate, *, error: float, between: float | None, mode: Mode
    ) -> SeedComparison:
        """Judge a difference.

        Args:
            estimate: it.
            error: the standard deviation of the difference of one seed.
            between: the standard deviation between seeds that are trained alike.
            mode: whether more or less is better.
        """
        if estimate.low is None or estimate.high is None:
            return cls(estimate, "unknown")
        between = between or error
        furthest = max(abs(estimate.low), abs(estimate.high))
        if estimate.n >= LEAST_FOR_VERDICT and (estimate.sure or furthest < between):
            found = estimate.verdict(mode)
            return cls(estimate, found if found in ("better", "worse") else "as good")
        size = abs(estimate.value)
        return cls(estimate, "undecided", _seeds_until(error, max(size, between - size)))


def _seeds_until(error: float, half: float) -> int:
    """Return how many seeds make an interval narrower than `half` to either side."""
    n = max(LEAST_FOR_VERDICT, math.floor((_student_quantile(1e6) * error / half) ** 2))
    while _student_quantile(n - 1) * error / math.sqrt(n) >= half:
        n += 1
    return n


def mean_of(values: Sequence[float]) -> Estimate:
    """Return the mean of one value or more."""
    sample = np.array(values, np.float64)
    return _estimate(float(sample.mean()), [sample], paired=False)


def difference(a: Sequence[float], b: Sequence[float], *, paired: bool) -> Estimate:
    """Return the mean of `a` minus the mean of `b`.

    Args:
        a: one value or more, one for each seed.
        b: the same; with `paired`, of the same seeds in the same order.
        paired: take the differences seed by seed.
    """
    first, second = np.array(a, np.float64), np.array(b, np.float64)
    value = float(first.mean() - second.mean())
    if paired and _constant(first) and _constant(second):  # their differences have nothing to tell
        return Estimate(value, None, None, len(first), paired)
    samples = [first - second] if paired else [first, second]
    return _estimate(value, samples, paired=paired)


def compare_seeds(
    a: Sequence[float], b: Sequence[float], *, paired: bool, mode: Mode
) -> SeedComparison:
    """Judge the difference of the means of two arms; arguments as those of `difference`."""
    sds = [spread(a) or 0.0, spread(b) or 0.0]
    apart = spread([x - y for x, y in zip(a, b, strict=True)]) if paired else math.hypot(*sds)
    return SeedComparison.of(
        difference(a, b, paired=paired), error=apart or 0.0,
        between=math.hypot(*sds) / math.sqrt(2), mode=mode,
    )  # fmt: skip


def spread(values: Sequence[float]) -> float | None:
    """Return the standard deviation over seeds (n - 1); None of fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _estimate(value: float, samples: list[Numbers], *, paired: bool) -> Estimate:
    n = min(map(len, samples))
    if n < 2 or (not paired and all(map(_constant, samples))):
        return Estimate(value, None, None, n, paired)
    errors = [float(np.var(sample, ddof=1)) / len(sample) for sample in samples]
    total = sum(errors)
    if total == 0:
        return Estimate(value, value, value, n, paired, "t")
    parts = zip(samples, errors, strict=True)
    # Welch's degrees of freedom; of one sample, n - 1.
    freedom = 1 / sum((error / total) ** 2 / (len(sample) - 1) for sample, error in parts)
    t = _student_quantile(freedom)
    if n < LEAST_TO_RESAMPLE:
        half = t * math.sqrt(total)
        return Estimate(value, value - half, value + half, n, paired, "t")
    low, high = _resampled(samples, tail=NormalDist().cdf(-t))
    return Estimate(value, value + low, value + high, n, paired, "bootstrap")


def _constant(sample: Numbers) -> bool:
    return bool(sample.min() == sample.max())


def _student_quantile(df: float) -> float:
    """Return the t above which lies half of what the interval leaves out."""
    # By halving: the tail falls with t, and no inverse is needed from a library.
    low, high = 0.0, 1e6
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        if student_tail(middle, df) > (1 - LEVEL) / 2:
            low = middle
        else:
            high = middle
    return high


def _resampled(samples: list[Numbers], *, tail: float) -> tuple[float, float]:
    """Return the percentile bootstrap interval around the value, widened for few seeds.

    The plain one is too narrow, as if the seeds were the whole world: deviations are stretched by
    sqrt(n / (n - 1)) and the tails are Student's, so that it holds what it promises.

    Source: Hesterberg 2015, What Teachers Should Know About the Bootstrap, The American
    Statistician 69, section 5.3 (the expanded percentile interval).
    """
    # Always the same seed: the same studies must give the same interval whenever they are compared.
    rng = np.random.default_rng(_SEED)
    moved = np.zeros(_RESAMPLES)
    for sign, sample in zip((1.0, -1.0), samples, strict=False):
        n = len(sample)
        deviations = (sample - sample.mean()) * math.sqrt(n / (n - 1))
        moved += sign * deviations[rng.integers(n, size=(_RESAMPLES, n))].mean(axis=1)
    low, high = np.quantile(moved, [tail, 1 - tail])
    return float(low), float(high)

"""Intervals over seeds hold what they promise, with few seeds too."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from evolvent.analysis.comparison.statistics import (
    LEAST_TO_RESAMPLE,
    SeedComparison,
    difference,
    mean_of,
    spread,
)


def test_three_seeds_get_the_interval_of_students_t() -> None:
    found = mean_of([1.0, 2.0, 3.0])
    assert (found.value, found.n, found.method) == (2.0, 3, "t")
    # 4.3027 is the 97.5 % quantile of Student's t with 2 degrees of freedom, as in any table
    assert found.low == pytest.approx(2 - 4.3027 / np.sqrt(3), abs=1e-4)
    assert found.high == pytest.approx(2 + 4.3027 / np.sqrt(3), abs=1e-4)


def test_a_difference_of_unlike_spreads_is_welchs() -> None:
    # by scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    found = difference([5.0, 6.0, 7.0, 8.0], [1.0, 5.0, 9.0], paired=False)
    assert found.value == 1.5
    assert (found.low, found.high) == pytest.approx((-7.58136, 10.58136), abs=1e-4)
    assert found.verdict("max") == "undecided"


def test_pairs_see_what_the_seeds_hide() -> None:
    a, b = [0.1, 0.5, 0.9], [0.0, 0.41, 0.8]
    assert difference(a, b, paired=False).verdict("max") == "undecided"
    assert difference(a, b, paired=True).verdict("max") == "better"
    assert difference(a, b, paired=True).verdict("min") == "worse"


def test_one_seed_tells_nothing() -> None:
    found = difference([1.0], [0.0, 0.1, 0.2], paired=False)
    assert (found.low, found.high, found.method) == (None, None, "none")
    assert found.verdict("max") == "unknown"
    assert spread([1.0]) is None


@pytest.mark.parametrize("paired", [True, False])
def test_seeds_that_all_agree_tell_nothing_about_noise(paired: bool) -> None:
    found = difference([0.1] * 3, [0.3] * 3, paired=paired)  # the mean of three 0.1 is not 0.1
    assert (found.low, found.high, found.n) == (None, None, 3)
    assert found.verdict("max") == "unknown"
    assert mean_of([0.1] * 3).low is None


def test_pairs_that_differ_alike_leave_no_doubt_and_no_difference_is_noise() -> None:
    assert difference([2.0, 3.0], [1.0, 2.0], paired=True).verdict("max") == "better"
    assert difference([1.0, 2.0], [1.0, 2.0], paired=True).verdict("max") == "undecided"


def test_from_six_seeds_on_it_is_a_bootstrap_the_same_every_time() -> None:
    values = [0.1, 0.4, 0.2, 0.9, 0.3, 0.5]
    assert len(values) == LEAST_TO_RESAMPLE
    found = mean_of(values)
    assert found.method == "bootstrap"
    assert found == mean_of(values)
    assert found.low is not None
    assert found.high is not None
    assert min(values) < found.low < found.value < found.high < max(values)


def test_a_bootstrap_follows_a_skew_that_t_does_not_see() -> None:
    found = mean_of([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.1, 0.2, 5.0])
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.value > 1.2 * (found.value - found.low)


@pytest.mark.parametrize(
    ("apart", "verdict", "needed"),
    [
        ([-180.0, -127.8], "undecided", 3),  # of a mean of 46.7 against 200.6
        ([-1.0, -1.1], "undecided", 3),  # an interval of two leaves out 0: still a guess
        ([0.0, 0.9, -0.8], "undecided", 7),
        ([-1.0, -1.1, -1.2], "worse", None),
        ([1.0, -1.0, 0.5, -0.5, 0.9, -0.9, 0.1, -0.1, 0.6, -0.6], "as good", None),
    ],
)
def test_a_verdict_needs_an_interval_that_can_carry_it(apart, verdict, needed) -> None:
    found = SeedComparison.of(
        mean_of(apart), error=spread(apart) or 0.0, between=spread(apart), mode="max"
    )
    assert (found.verdict, found.needed) == (verdict, needed)


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 6, 12])
def test_nineteen_of_twenty_intervals_hold_the_truth(n: int) -> None:
    rng, runs = np.random.default_rng(n), 400
    pairs = [(rng.normal(size=n), 3 * rng.normal(size=n)) for _ in range(runs)]
    means = sum(not mean_of(a.tolist()).sure for a, _ in pairs)
    differences = sum(not difference(a.tolist(), b.tolist(), paired=False).sure for a, b in pairs)
    four_errors = 4 * np.sqrt(0.95 * 0.05 / runs)
    assert means / runs == pytest.approx(0.95, abs=four_errors)
    assert differences / runs == pytest.approx(0.95, abs=four_errors)


def test_of_even_values_a_bootstrap_is_as_wide_as_students_t() -> None:
    even = [NormalDist().inv_cdf((i + 0.5) / 12) for i in range(12)]
    found = mean_of(even)
    half = 2.2010 * np.std(even, ddof=1) / np.sqrt(12)  # 97.5 % of Student's t, 11 degrees
    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.02)

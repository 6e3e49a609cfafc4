"""What is left out of a figure, and what never is."""

from __future__ import annotations

import numpy as np
import pytest

from evolvent.analysis.columns import evenly
from evolvent.analysis.plots import downsample


def rows(members: int, rounds: int) -> np.ndarray:
    return np.arange(members * rounds).reshape(members, rounds)


def test_few_jobs_are_all_drawn():
    found = downsample.lines(rows(64, 100), np.arange(6400.0))
    assert [len(line) for line in found.series] == [100] * 64
    assert found.bands is None


def test_few_members_are_all_drawn_however_long_they_train():
    found = downsample.lines(rows(8, 10_000), np.random.default_rng(0).random(80_000), columns=700)
    assert len(found.series) == 8
    assert found.bands is None
    assert max(len(line) for line in found.series) <= 4 * 175


def test_many_members_become_bands_and_a_sample_spread_over_their_ends():
    n, r = 1000, 100
    places = np.repeat(np.arange(n, dtype=float), r)  # member i is at i all the time
    found = downsample.lines(rows(n, r), places)
    ends = [places[line[-1]] for line in found.series]
    assert ends == sorted(ends)
    assert (ends[0], ends[-1], len(ends)) == (0, 999, 15)
    assert found.bands is not None
    assert len(found.bands.round) == 100
    assert found.bands.levels[7] == pytest.approx(np.quantile(np.arange(n), downsample.LEVELS))


def test_bands_leave_out_what_is_missing_and_what_is_not_finite():
    log_rows = rows(200, 200)
    log_rows[0, 100:] = -1  # joined late
    places = np.ones(40_000)
    places[1] = np.nan
    bands = downsample.lines(log_rows, places).bands
    assert bands is not None
    assert (bands.levels == 1).all()


def test_panels_share_the_vertices():
    assert downsample.lines(rows(100, 100), np.ones(10_000), panels=1).bands is None
    assert downsample.lines(rows(100, 100), np.ones(10_000), panels=3).bands is not None


def test_thin_line_keeps_ends_peaks_and_order():
    places = np.sin(np.arange(10_000) / 50)
    places[[4321, 7777]] = 99, -99
    kept = downsample.thin_line(np.arange(10_000), places, columns=100)
    assert len(kept) <= 400
    assert {0, 4321, 7777, 9999} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()


def test_last_point_in_a_cell_covers_the_others():
    x = np.array([0.0, 0.01, 0.99, 1.0, np.nan])
    y = np.array([0.0, 0.01, 1.0, 0.99, 0.0])
    assert downsample.thin_points(x, y, columns=10, rows=10).tolist() == [1, 3]


def test_points_never_exceed_the_cells():
    x, y = np.random.default_rng(0).random((2, 100_000))
    assert len(downsample.thin_points(x, y, columns=30, rows=20)) == 600


def test_points_in_one_place_are_one():
    assert downsample.thin_points(np.ones(9), np.ones(9), columns=5, rows=5).tolist() == [8]


def test_nothing_is_thinned_to_nothing():
    none = np.zeros(0)
    assert downsample.thin_points(none, none, columns=5, rows=5).tolist() == []


def test_core_is_told_when_few_values_would_flatten_the_rest():
    values = np.append(np.linspace(0, 1, 100), 1e30)
    low, high = downsample.core_range(values)  # type: ignore[misc]
    assert -0.1 < low < 0.05
    assert 0.95 < high < 1.1


def test_core_holds_what_must_be_seen():
    values = np.append(np.linspace(0, 1, 100), [30.0, 1e30])
    core = downsample.core_range(values, np.array([30.0]))
    assert core is not None
    assert core[1] >= 30


def test_no_core_without_outliers():
    assert downsample.core_range(np.linspace(0, 1, 100)) is None
    assert downsample.core_range(np.array([1.0, 1e30])) is None
    assert downsample.core_range(np.ones(100)) is None


def test_evenly_keeps_both_ends():
    assert evenly(np.arange(100), 4).tolist() == [0, 33, 66, 99]
    assert evenly(np.arange(3), 4).tolist() == [0, 1, 2]

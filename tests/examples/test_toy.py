"""The four modes of Figure 2 end where the paper's dynamics say they must."""

from __future__ import annotations

import subprocess
import sys
from statistics import mean

import pytest

from tests.examples.loading import EXAMPLES, load_example

toy = load_example("toy")


def best_q(mode: str, seed: int, **settings) -> float:
    return max(history[-1]["Q"] for history in toy.run_mode(mode, seed, **settings))


@pytest.mark.parametrize(("steps", "interval"), [(200, 4), (75, 1), (200, 10)])
def test_grid_search_ends_where_arithmetic_says_and_never_reaches_0_39(steps, interval):
    expected = 0.39 - 0.81 * 0.98 ** (2 * steps)
    q = best_q("grid search", 0, steps=steps, interval=interval)
    assert q == pytest.approx(expected, abs=1e-12)
    assert q < 0.39


def test_grid_search_does_not_depend_on_the_seed():
    assert toy.run_mode("grid search", 1) == toy.run_mode("grid search", 2)


def test_trading_weights_is_enough_to_leave_the_ridge():
    assert best_q("exploit only", 0) == pytest.approx(1.1715, abs=5e-4)


@pytest.mark.slow
def test_asynchronous_pbt_reaches_the_top_and_no_run_stays_on_the_ridge():
    qs = [best_q("PBT", seed, synchronous=False) for seed in range(20)]
    assert mean(qs) >= 1.10
    assert min(qs) > 0.39


def test_synchronous_pbt_is_within_the_published_band():
    n = 20
    qs = [best_q("PBT", seed) for seed in range(n)]
    assert mean(qs) == pytest.approx(1.1962, abs=4 * 0.0038 / n**0.5 + 0.002)


def test_no_mode_beats_the_oracle():
    oracle = 1.2 - 1.62 * 0.98**400
    assert all(best_q(mode, 3) <= oracle + 1e-12 for mode in toy.MODES)


def test_every_round_of_both_members_is_in_the_history():
    members = toy.run_mode("PBT", steps=20, interval=4)
    assert [len(history) for history in members] == [5, 5]
    assert members[0][0].keys() == {"Q", "theta0", "theta1"}


def test_the_script_prints_a_line_for_each_mode():
    done = subprocess.run(
        [sys.executable, EXAMPLES / "toy.py", "--seed", "1"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[1].startswith("grid search    0.3897   (")
    assert [line.split("  ")[0] for line in lines[1:5]] == list(toy.MODES)

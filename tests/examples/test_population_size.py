"""More members find a better hill climber, and worker processes change nothing."""

from __future__ import annotations

import subprocess
import sys
from statistics import mean

import pytest

from tests.examples.loading import EXAMPLES, load_example

example = load_example("population_size")

PUBLISHED = {1: (0.930, 0.264), 2: (1.161, 0.052), 4: (1.1922, 0.0063), 8: (1.1952, 0.0010)}


@pytest.mark.parametrize("population", PUBLISHED)
def test_a_population_of_every_size_is_within_the_published_band(population):
    n = 8
    expected, sd = PUBLISHED[population]
    q = mean(example.best_q(population, seed) for seed in range(n))
    assert q == pytest.approx(expected, abs=4 * sd / n**0.5 + 0.002)


def test_large_populations_come_close_to_the_best_there_is():
    assert 1.194 < example.best_q(32, seed=0) <= 1.2 - 1.62 * 0.98**300


@pytest.mark.slow
def test_worker_processes_find_the_same(tmp_path):
    script = [sys.executable, EXAMPLES / "population_size.py", "--seeds", "1"]
    runs = [
        subprocess.run(
            [*script, "--workers", workers], capture_output=True, text=True, check=True, timeout=240
        ).stdout
        for workers in ("0", "2")
    ]
    assert runs[0] == runs[1]
    assert len(runs[0].splitlines()) == 8

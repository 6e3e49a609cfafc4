"""A log of a million jobs is drawn in seconds, into a small file."""

from __future__ import annotations

import time

import pytest

from evolvent.analysis.plots import KINDS
from tests.analysis.plots.builders import simulated
from tests.needs import needs

needs("altair")
needs("vl_convert")

from evolvent.analysis.plots.wish import Wish  # noqa: E402 - after what skips


@pytest.fixture(scope="module")
def million():
    return simulated(1000, 1000, failing=0.001)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_million_jobs_are_drawn_within_ten_seconds_of_work(kind, million, tmp_path):
    for ending, most in ((".svg", 2_000_000), (".png", 2_000_000), (".html", 5_000_000)):
        started = time.process_time()
        Wish(kind=kind, file=tmp_path / f"figure{ending}").draw({"only": [million]})
        assert time.process_time() - started < 10
        assert (tmp_path / f"figure{ending}").stat().st_size < most

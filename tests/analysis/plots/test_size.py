"""A log of a million jobs becomes a small file; how long that takes is in the benchmarks."""

from __future__ import annotations

import pytest

from evolvent.analysis.plots import KINDS
from tests.analysis.plots.builders import simulated
from tests.needs import needs

needs("altair")
needs("vl_convert")

from evolvent.analysis.plots.figure import FigureRequest  # noqa: E402 - after what skips


@pytest.fixture(scope="module")
def million():
    return simulated(1000, 1000, failing=0.001)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_million_jobs_make_a_small_file(kind, million, tmp_path):
    for ending, most in ((".svg", 2_000_000), (".png", 2_000_000), (".html", 5_000_000)):
        FigureRequest(kind=kind, file=tmp_path / f"figure{ending}").draw({"only": [million]})
        assert (tmp_path / f"figure{ending}").stat().st_size < most

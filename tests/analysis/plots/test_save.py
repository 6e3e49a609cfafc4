"""Figures in files: every format, whole or not at all, and without a network."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest

from evolvent.analysis.plots.figure import Options
from evolvent.errors import ConfigError, EvolventError
from tests.analysis.plots.builders import simulated
from tests.needs import needs

needs("altair")
needs("vl_convert")

from evolvent.analysis.plots.kinds.scores import draw  # noqa: E402
from evolvent.analysis.plots.save import FORMATS, save  # noqa: E402 - after what skips

HOSTILE = "</script><script>alert(1)</script>"


def chart(**options):
    return draw([simulated(name=HOSTILE)], Options(**options))


def test_formats_are_what_their_names_say(tmp_path: Path):
    starts = {".png": b"\x89PNG", ".svg": b"<svg", ".pdf": b"%PDF", ".html": b"<!DOCTYPE html>"}
    for ending, start in starts.items():
        assert save(chart(), tmp_path / f"figure{ending}").read_bytes().startswith(start)
    spec = json.loads(save(chart(), tmp_path / "figure.json").read_text())
    assert spec["$schema"].startswith("https://vega.github.io/schema/vega-lite/")
    assert {*starts, ".json"} == set(FORMATS)


def test_png_has_two_pixels_for_each_of_the_figure(tmp_path: Path):
    header = save(chart(width=400, height=300), tmp_path / "f.png").read_bytes()[16:24]
    assert struct.unpack(">II", header) == (800, 600)


def test_html_loads_nothing(tmp_path: Path):
    page = save(chart(), tmp_path / "figure.html").read_text()
    tags = re.findall(r"<(?:script|link|iframe)\b[^>]*>", page)
    assert tags == ['<script type="text/javascript">'] * 2
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert not re.search(r"@import|url\(\s*['\"]?https?:", page)
    assert 500_000 < len(page) < 5_000_000


def test_names_cannot_end_the_script_they_stand_in(tmp_path: Path):
    page = save(chart(), tmp_path / "figure.html").read_text()
    assert "alert(1)</script>" not in page
    assert page.count("</script>") == 2


def test_ending_is_read_without_regard_to_case(tmp_path: Path):
    assert save(chart(), tmp_path / "F.SVG").exists()


def test_other_ending_is_refused_with_those_there_are(tmp_path: Path):
    with pytest.raises(
        ConfigError, match=r"wanted a name ending in .png, .svg, .pdf, .html, .json"
    ):
        save(chart(), tmp_path / "figure.gif")
    assert list(tmp_path.iterdir()) == []


def test_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path):
    (tmp_path / "taken.svg").mkdir()
    with pytest.raises(EvolventError, match="cannot write"):
        save(chart(), tmp_path / "taken.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.svg"]
    with pytest.raises(EvolventError, match="nowhere"):
        save(chart(), tmp_path / "nowhere" / "figure.svg")


def test_file_is_replaced(tmp_path: Path):
    path = tmp_path / "figure.svg"
    path.write_text("old")
    save(chart(), path)
    assert path.read_text().startswith("<svg")
    assert [path.name for path in tmp_path.iterdir()] == ["figure.svg"]

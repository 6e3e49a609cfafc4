"""The examples draw the figures of the paper, when asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.loading import EXAMPLES
from tests.needs import needs

needs("altair")
needs("vl_convert")


def figure_of(script: str, path: Path, *arguments: str) -> dict:
    subprocess.run(
        [sys.executable, EXAMPLES / script, *arguments, "--figure", path],
        capture_output=True, check=True, timeout=240,
    )  # fmt: skip
    return json.loads(path.read_text())


def test_figure_2_has_eight_panels(tmp_path):
    spec = figure_of("toy.py", tmp_path / "fig2.json")
    columns = spec["hconcat"]
    assert [column["vconcat"][0]["title"]["text"] for column in columns] == [
        "grid search", "exploit only", "explore only", "PBT",
    ]  # fmt: skip
    assert [len(column["vconcat"]) for column in columns] == [2, 2, 2, 2]


@pytest.mark.slow
def test_population_sizes_have_a_column_each(tmp_path):
    spec = figure_of("population_size.py", tmp_path / "sizes.json", "--seeds", "1", "--dark")
    tops = [column["vconcat"][0]["title"]["text"] for column in spec["hconcat"]]
    assert tops == [f"{n} member{'s' * (n > 1)}" for n in (1, 2, 4, 8, 16, 32)]
    assert [len(column["vconcat"]) for column in spec["hconcat"]] == [3] * 6
    assert spec["config"]["background"] == "#0d1117"

"""The page for the next engineer names files that are there, and every room."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def test_every_file_and_folder_that_it_names_is_there():
    named = set(re.findall(r"`([\w./]+(?:\.py|/))`", PAGE))
    assert len(named) > 50
    there = [f"/{path.relative_to(ROOT)}" for top in ("src", "tests", "docs", "tools", "benchmarks")
             for path in (ROOT / top, *(ROOT / top).rglob("*"))]  # fmt: skip
    missing = {n for n in named if not any(path.endswith(f"/{n.rstrip('/')}") for path in there)}
    assert missing == set()


def test_every_room_is_on_it_and_in_its_picture():
    picture = (ROOT / "docs" / "architecture.svg").read_text()
    for init in (ROOT / "src/evolvent").glob("*/__init__.py"):
        assert init.parent.name in PAGE
        assert init.parent.name in picture


def test_readme_leads_to_it():
    readme = (ROOT / "README.md").read_text()
    for page in ("docs/architecture.md", "CONTRIBUTING.md"):
        assert f"]({page})" in readme
        assert (ROOT / page).is_file()

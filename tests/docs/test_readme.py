"""The README and its pages are true: code runs, commands, links and settings are there."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main

import evolvent as ev
from evolvent.cli.main import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def test_the_python_code_runs_from_top_to_bottom_as_one_script(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks("python")))
    ran = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    shown = re.search(r"^```text\n(Q .*?)^```", README, re.DOTALL | re.MULTILINE)
    assert shown is not None
    table = shown[1].split("\n", 1)[1]
    assert table.strip() in ran.stdout, "the schedule in the README is the one that comes out"


def test_every_command_is_in_the_readme_and_every_one_in_it_exists() -> None:
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    prose = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)
    shown = re.findall(r"^(?:\$ )?(evolvent [a-z]+)", "\n".join(blocks("text")), re.MULTILINE)
    named = set(
        re.findall(r"evolvent ([a-z]+)", " ".join([*re.findall(r"`[^`]+`", prose), *shown]))
    )
    listed = set(re.findall(r"[a-z]+", _shell_block()))
    assert commands <= named | listed, f"missing: {commands - named - listed}"
    assert named <= commands, f"no such command: {named - commands}"


def test_the_study_file_that_is_shown_is_the_example() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert tomllib.loads(blocks("toml", page)[0]) == tomllib.loads(
        (ROOT / "examples" / "digits.toml").read_text()
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    text = page.read_text()
    links = re.findall(r"\]\(((?!http)[^)]+)\)|src(?:set)?=\"([^\"]+)\"", text)
    for target in map("".join, links):
        path, _, anchor = target.partition("#")
        there = page if not path else page.parent / path
        assert there.exists(), target
        assert not anchor or anchor in _anchors(there), target


def test_the_readme_leads_to_every_page() -> None:
    listed = README.split("## Where to read on")[1].split("\n## ")[0]
    assert [page.name for page in PAGES[1:] if f"](docs/{page.name})" not in listed] == []


def test_every_setting_and_variable_is_on_the_page_of_settings() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    settings = {
        *inspect.signature(ev.create_study).parameters,
        *inspect.signature(ev.Study.run).parameters,
    } - {"self", "engine"}  # there is but one engine
    assert {name for name in settings if not re.search(rf"\b{name}\b", page)} == set()
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    variables = set(re.findall(r"\bEVOLVENT_[A-Z_]+[A-Z]\b", source))
    assert {name for name in variables if f"`{name}`" not in page} == set()


def test_what_the_readme_says_of_speed_is_what_its_page_says() -> None:
    said = README.split("## How fast")[1].split("\n## ")[0]
    measured = (ROOT / "docs" / "speed.md").read_text()
    assert _numbers(said) <= _numbers(measured)


def _numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:[.,]\d+)*", text))


def _anchors(page: Path) -> set[str]:
    """Return the names that headings have as targets of links, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}


def _shell_block() -> str:
    return next(block for block in blocks("text") if "evolvent run study.toml" in block)

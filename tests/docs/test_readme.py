"""The README is true: its code runs, its commands exist, and no command is missing from it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main

from evolvent.cli.main import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


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


def test_the_study_file_in_the_readme_is_the_example() -> None:
    assert tomllib.loads(blocks("toml")[0]) == tomllib.loads(
        (ROOT / "examples" / "digits.toml").read_text()
    )


def test_what_the_readme_links_to_is_there() -> None:
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def _shell_block() -> str:
    return next(block for block in blocks("text") if "evolvent run study.toml" in block)

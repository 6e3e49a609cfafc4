"""The command line as a whole: help, examples, exit codes, how quickly it starts."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from rich.text import Text
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

import evolvent as ev
from evolvent.cli.main import app
from tests.cli.commands import evolvent, fine, trained_study

COMMANDS: dict[str, TyperCommand] = get_command(app).commands  # type: ignore[attr-defined]  # a group
EXAMPLES = {
    re.split(r"  | [|>&]+ ", line.strip(), maxsplit=1)[0]
    for owner in (get_command(app), *COMMANDS.values())
    for line in (owner.epilog or "").splitlines()
    if line.strip().startswith("evolvent ")
}


def test_help_names_every_command() -> None:
    text = fine("--help")
    for name in COMMANDS:
        assert f"│ {name} " in text


def test_no_command_shows_the_help() -> None:
    result = evolvent()
    assert result.exit_code == 2
    assert "Usage" in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_its_options(name: str) -> None:
    command = COMMANDS[name]
    assert (command.help or "").rstrip().endswith((".", "]'"))
    unexplained = [p.name for p in command.params if not getattr(p, "help", None)]
    assert unexplained == []
    assert fine(name, "--help")


@pytest.mark.parametrize("example", sorted(EXAMPLES))
def test_every_example_uses_commands_and_options_that_exist(example: str) -> None:
    _, name, *rest = shlex.split(example.partition(" -- ")[0].rstrip("\\ "))
    command = COMMANDS[name]
    if isinstance(command, TyperGroup):
        command = command.commands[rest[0]]
    known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    assert {word for word in rest if word.startswith("--")} <= known


def test_help_fits_80_columns() -> None:
    for name, command in COMMANDS.items():
        lines = (command.epilog or "").splitlines()
        assert [line for line in lines if len(Text.from_markup(line)) > 78] == [], name


def test_version_is_that_of_the_package() -> None:
    assert fine("--version") == f"evolvent {ev.__version__}\n"


def test_unknown_command_is_a_usage_error() -> None:
    assert evolvent("train").exit_code == 2


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from evolvent.cli.main import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "print([m for m in ('numpy', 'sqlalchemy', 'cloudpickle', 'torch') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


def test_command_can_be_run_as_a_module() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "evolvent", "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout == f"evolvent {ev.__version__}\n"


@pytest.mark.parametrize("arguments", ["--help", "show", "best --json"])
def test_a_reader_that_is_gone_ends_a_command_silently(arguments: str) -> None:
    trained_study()
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "evolvent", *arguments.split()]
    ran = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False, timeout=60)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="a full disk of Linux")
@pytest.mark.parametrize("arguments", ["--version", "show", "jobs --json", "jobs --csv"])
def test_a_full_disk_below_the_output_is_one_line_on_stderr(arguments: str) -> None:
    trained_study(rounds=40)  # more than Python keeps back until it ends
    command = [sys.executable, "-m", "evolvent", *arguments.split()]
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    assert ran.returncode == 1
    assert ran.stderr == b"error: standard output: No space left on device\n"


@pytest.mark.parametrize("arguments", ["show", "best --json", "jobs"])
def test_names_are_printed_on_a_terminal_that_lacks_their_letters(arguments: str) -> None:
    trained_study("épreuve 训练", metric="é", train=lambda _: {"é": 1.0})
    command = [sys.executable, "-m", "evolvent", *arguments.split()]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, b"")
    if "--json" in arguments:
        assert json.loads(ran.stdout)["study"] == "épreuve 训练"


@pytest.mark.parametrize(
    ("command", "there"),
    [
        ("show nobody", "there is 'hill'"),
        ("pin hill m9r0", "members 0 to 2"),
        ("unpin hill m9r0", "members 0 to 2"),
        ("explain hill m0r9", "round"),
        ("jobs hill --member 9", "it has 0 to 2"),
        ("jobs hill --sort speed", "there are id, member"),
        ("push hill speed=1", "it has step, optimizer.lr"),
        ("plot hill scores -m speed -o a.svg", "it has height, depth"),
        ("schedule hill --only speed", "there are step, optimizer.lr"),
        ("schedule --from-ray none.txt", "none.txt: No such file"),
        ("import none.zip", "there is no such file"),
        ("run none.toml", "none.toml: cannot be read: No such file"),
        ("check --file none.toml", "none.toml: cannot be read: No such file"),
        ("best --store sqlite:///none.db", "there is no such file"),
        ("best --store sqlite:///none/none.db", "there is no directory"),
        ("token revoke nobody", "none is active"),
        ('push hill optimizer={"pace":1}', "not in the space, wanted step, optimizer.lr"),
        ("push hill step=0.5 optimizer.lr=0.1 --metrics height=1 --checkpoint none", "a directory"),
        ("resume hill none:train", "no module 'none'"),
        ("check tests.trainables:none --study hill", "has no attribute 'none'"),
        ("replay hill none.py:train", "none.py is not there"),
        ("worker sqlite:///evolvent.db hill none:train", "no module 'none'"),
        ("check none:train --study hill", "no module 'none'"),
        ("exec hill -- none.sh", "no program 'none.sh'"),
        ("exec hill -- echo {speed}", "hyperparameters are step, optimizer.lr"),
    ],
)
def test_a_name_of_what_is_not_there_has_one_exit_code_and_one_line(
    command: str, there: str
) -> None:
    trained_study()
    result = evolvent(*command.split())
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert there in result.stderr

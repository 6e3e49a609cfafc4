"""Every other Python that is here runs what needs only the dependencies of the core."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.needs import missing

ROOT = Path(__file__).resolve().parents[1]
SUITE = (
    "tests/core",
    "tests/store/codec",
    "tests/store/sqlite",
    "tests/store/checkpoints/test_local.py",
    "tests/store/test_contract.py",
    "tests/store/test_forks.py",
    "tests/engines/local/test_driver.py",
    "tests/engines/test_worker.py",
    "tests/analysis",
    "tests/cli/test_train.py",
    "tests/test_study.py",
    "tests/test_result.py",
)
SLOW = ("tests/engines/local/test_driver.py",)  # real processes, which interpreters differ in
TOOLS = ("hypothesis", "pytest", "pytest-timeout")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_core_holds_on_every_python_that_is_here(version: str, tmp_path: Path) -> None:
    if version == "{}.{}".format(*sys.version_info):
        pytest.skip(f"Python {version} runs all the other tests")
    # Kept with the environment that runs the tests, if they run in one.
    kept = Path(sys.prefix) if sys.prefix != sys.base_prefix else tmp_path
    python = environment(interpreter(version), kept / "interpreters" / version)
    # Without CI: what optional libraries are for is skipped there.
    variables = {k: v for k, v in os.environ.items() if k not in ("CI", "PYTHONPATH")}
    for which, tests in (("not slow", SUITE), ("slow", SLOW)):
        ran = subprocess.run(
            [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", which, *tests],
            cwd=ROOT,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        print(ran.stdout[-500:])  # noqa: T201 - how many tests that were
        assert ran.returncode == 0, f"{ran.stdout[-8000:]}\n{ran.stderr[-2000:]}"


def interpreter(version: str) -> str:
    """Return a Python of this version, on PATH or of pyenv, or skip the test: also in CI."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for found in (shutil.which(name), *sorted(pyenv.glob(f"{version}.*/bin/{name}"))):
        # What pyenv puts on PATH refuses to run for versions that are not chosen.
        if found is not None and runs(str(found), "-c", "import ensurepip, sqlite3, venv") is None:
            return str(found)
    pytest.skip(f"no {name} that can make virtual environments is on PATH or in {pyenv}")


def environment(python: str, home: Path) -> str:
    """Return the Python of a virtual environment, which is made anew when what it holds changes."""
    constraints = ROOT / "constraints.txt"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *TOOLS]
    made_of = "\n".join([python, str(ROOT), *wanted, constraints.read_text()])
    stamp = home / "made_of"
    if not stamp.exists() or stamp.read_text() != made_of:
        failure = runs(python, "-m", "venv", "--clear", str(home)) or runs(
            *(str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"),
            *("--disable-pip-version-check", "--constraint", str(constraints), *wanted),
        )
        if failure is not None:
            missing(f"no environment for {python}: {failure}")
        (site,) = home.glob("lib/python*/site-packages")
        (site / "evolvent.pth").write_text(str(ROOT / "src"))  # also for processes that tests start
        stamp.write_text(made_of)
    return str(home / "bin" / "python")


def runs(*command: str) -> str | None:
    """Run a command; return what it said when it failed."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if ran.returncode == 0 else (ran.stderr or ran.stdout)[-2000:]

"""A run whose standard output goes away, is full, or lacks a letter comes to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import evolvent as ev

SCRIPT = """
import sys
import evolvent as ev

def train(job):
    print("épreuve ✓ 训练", job.id, flush=True)
    return {"Q": job.hyperparameters["lr"]}

if __name__ == "__main__":
    study = ev.create_study(
        "out", metric="Q", mode="max", population=2, rounds=2, store="sqlite:///out.db",
        space={"lr": ev.Uniform(0.1, 1)}, algorithm=ev.RandomSearch(), durability="process")
    study.run(train, workers=int(sys.argv[1]))
    sys.exit(7)
"""


@pytest.fixture(params=[0, 2], ids=["inline", "two workers"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    (tmp_path / "train.py").write_text(SCRIPT, encoding="utf-8")
    return [sys.executable, "train.py", str(request.param)]


def environment(**changes: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LC_", "LANG"))}
    return {**kept, "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **changes}


def finished(directory: Path) -> int:
    return len(ev.load_study("out", store=f"sqlite:///{directory}/out.db").jobs("done"))


@pytest.mark.parametrize(
    "changes",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["ascii", "posix"],
)
def test_letters_that_it_lacks_become_backslashes(
    changes: dict[str, str], command: list[str], tmp_path: Path
) -> None:
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment(**changes), capture_output=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 7, ran.stderr
    assert b"\\xe9preuve \\u2713 \\u8bad\\u7ec3 m1r1\n" in ran.stdout
    assert b"finished after 4 jobs" in ran.stdout
    assert finished(tmp_path) == 4


def test_a_reader_that_is_gone_ends_nothing(command: list[str], tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment(), stdout=writer, stderr=subprocess.PIPE,
        timeout=120, check=False, text=True,
    )  # fmt: skip
    os.close(writer)
    assert "Broken pipe" in ran.stderr
    assert "training goes on" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert finished(tmp_path) == 4
    if command[-1] != "0":  # else training code has left what it printed to Python's own flush
        assert ran.returncode == 7
        assert len(ran.stderr.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_a_full_disk_below_it_ends_nothing(command: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            command, cwd=tmp_path, env=environment(), stdout=full, stderr=subprocess.PIPE,
            timeout=120, check=False, text=True,
        )  # fmt: skip
    assert "No space left on device" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert finished(tmp_path) == 4


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="Linux only")
@pytest.mark.parametrize("stream", ["stderr", "__stderr__"])
def test_standard_error_on_a_full_disk_is_no_fault_of_a_checkpoint(
    command: list[str], tmp_path: Path, stream: str
) -> None:
    script = SCRIPT.replace("job.id, flush=True", f"job.id, file=sys.{stream}")
    (tmp_path / "train.py").write_text(script, encoding="utf-8")
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=full,
            timeout=120, check=False, text=True,
        )  # fmt: skip
    assert "CheckpointError" not in ran.stdout
    if (stream, command[-1]) == ("__stderr__", "0"):  # past us: as any error of training code
        assert "m0r0 failed: OSError: [Errno 28]" in ran.stdout
    else:
        assert finished(tmp_path) == 4


def test_none_at_all_ends_nothing(command: list[str], tmp_path: Path) -> None:
    ran = subprocess.run(
        ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command], cwd=tmp_path, env=environment(),
        timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 7
    assert finished(tmp_path) == 4


TERMINAL = SCRIPT.replace(
    "def train(job):",
    """import pathlib, signal, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup

def train(job):
    while not pathlib.Path("gone").exists():
        time.sleep(0.01)""",
)


def test_a_terminal_that_goes_away_ends_nothing(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TERMINAL, encoding="utf-8")
    ours, terminal = os.openpty()
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(TERM="xterm"), stdin=terminal, stdout=terminal,
        stderr=subprocess.PIPE, start_new_session=True, text=True,
    ) as running:  # fmt: skip
        os.close(terminal)
        assert os.read(ours, 1)  # it is shown
        os.close(ours)
        (tmp_path / "gone").touch()
        _, errors = running.communicate(timeout=120)
    assert finished(tmp_path) == 4, errors
    assert "the display of this run: OSError: [Errno 5] Input/output error" in errors
    assert "Traceback" not in errors
    if command[-1] != "0":  # as above
        assert running.returncode == 7

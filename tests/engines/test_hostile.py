"""Whatever training code does to its process, the study goes on or a clear error ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import evolvent as ev
from tests.engines import hostile
from tests.engines.local.test_driver import Watcher, new_study
from tests.engines.trainables import climb


def staged(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("*.checkpoints/*/staging/*"))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("trainable", "noted"),
    [
        (hostile.exits, r"sys\.exit\(0\)"),
        (hostile.raises_unspeakable, "Unspeakable: <exception str"),
    ],
)
def test_it_is_a_failed_attempt(tmp_path: Path, workers: int, trainable: Any, noted: str) -> None:
    study = new_study(tmp_path)
    study.run(trainable, workers=workers, progress=False)
    assert study.status().state == "finished"
    (failed,) = study.failures()
    assert (failed.job, failed.failure.kind) == ("m0r1", "raised")
    with pytest.raises(AssertionError, match=noted):
        raise AssertionError(failed.failure.message)


@pytest.mark.slow
@pytest.mark.parametrize(
    "trainable",
    [
        hostile.exits_hard,
        hostile.interrupts_itself,
        hostile.leaves_a_thread_and_breaks,
        hostile.hangs_in_silence,
    ],
)
def test_the_worker_is_replaced(tmp_path: Path, trainable: Any) -> None:
    study, watcher = new_study(tmp_path), Watcher()
    study.run(trainable, workers=1, hang_s=1.0, progress=watcher)
    assert study.status().state == "finished"
    assert any("replacing" in line for line in watcher.lines)
    assert staged(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "trainable",
    [
        hostile.closes_its_output,
        hostile.wanders_off,
        hostile.has_helpers,
        hostile.ClosesBadly,
        hostile.forks_and_exits,
        hostile.forks_and_returns,
        hostile.forks_and_raises,
        hostile.ForksAndExits,
        hostile.terminates_helpers,
    ],
)
def test_nothing_is_wrong(tmp_path: Path, trainable: Any) -> None:
    study, watcher = new_study(tmp_path), Watcher()
    study.run(trainable, workers=1, progress=watcher)
    assert study.status().state == "finished"
    assert study.failures() == []
    assert [job.attempt for job in study.jobs()] == [1] * 12
    assert not any("replacing" in line for line in watcher.lines)


def test_odd_output_is_shown_in_lines(tmp_path: Path) -> None:
    study, watcher = new_study(tmp_path), Watcher()
    study.run(hostile.prints_odd_things, workers=1, progress=watcher)
    assert any("half a line" in line for line in watcher.lines)
    assert max(map(len, watcher.lines)) < 3_000_000


@pytest.mark.slow
def test_a_driver_sleeps_when_its_workers_print_elsewhere(tmp_path: Path) -> None:
    spent_s = []
    for i, trainable in enumerate((climb, hostile.sends_its_output_elsewhere)):
        (folder := tmp_path / str(i)).mkdir()
        study = new_study(folder, population=2, rounds=2)
        before_s = time.process_time()
        study.run(trainable, workers=1, progress=False)
        spent_s.append(time.process_time() - before_s)
    # Of more than it takes to start a worker, which depends on what this process has imported.
    assert spent_s[1] - spent_s[0] < 1.0


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("trainable", "named"),
    [
        (hostile.links, "symbolic link"),
        (hostile.logs_at_no_step, "step must be a finite number"),
    ],
)
def test_an_error_ends_the_run_and_leaves_nothing_behind(
    tmp_path: Path, workers: int, trainable: Any, named: str
) -> None:
    study = new_study(tmp_path)
    with pytest.raises(ev.EvolventError, match=named):
        study.run(trainable, workers=workers, progress=False)
    assert study.jobs("running") == []
    assert staged(tmp_path) == []
    study.run(climb, workers=workers, progress=False)
    assert study.status().state == "finished"


def test_a_job_that_trained_while_another_could_not_be_saved_still_counts(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    with pytest.raises(ev.CheckpointError, match="symbolic link"):
        study.run(hostile.links_in_the_first, workers=1, progress=False)
    assert [job.id for job in study.jobs("done")] == ["m1r0"]


def test_what_dead_workers_left_is_removed_when_a_run_starts(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    left = study.store.checkpoints(study.id).stage("by a worker that was killed")
    (left / "half").write_text("a checkpoint")
    study.run(climb, workers=0, progress=False)
    assert staged(tmp_path) == []


@pytest.mark.parametrize("trainable", [hostile.WantsArguments, lambda: {"at": 1.0}])
def test_what_cannot_be_called_is_refused_before_anything_starts(
    tmp_path: Path, trainable: Any
) -> None:
    study = new_study(tmp_path)
    with pytest.raises(ev.ConfigError, match=r"wants arguments|one argument"):
        study.run(trainable, workers=1, progress=False)
    assert study.failures() == []


def test_nothing_outlives_a_driver_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(f"""
            import evolvent as ev
            from tests.engines.hostile import leaves_processes
            ev.create_study("s", metric="at", mode="max", population=1, rounds=1,
                            space={{"step": ev.Uniform(0.1, 1.0)}},
                            store="sqlite:///{tmp_path}/e.db").run(leaves_processes, workers=1)
        """)
    )
    env = {**os.environ, "PYTHONPATH": os.getcwd(), "EVOLVENT_TEST_MARKS": str(tmp_path)}
    driver = subprocess.Popen([sys.executable, str(script)], env=env, stdout=subprocess.DEVNULL)
    note = tmp_path / "m0r0"
    wait_until(note.exists)
    pids = [int(pid) for pid in note.read_text().split()]
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    try:
        wait_until(lambda: not any(map(lives, pids)))
    finally:
        for pid in filter(lives, pids):
            os.kill(pid, signal.SIGKILL)


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Interrupting(str):
    """A device that sends Ctrl-C to the driver just while the driver starts the first worker."""

    __slots__ = ()
    sent: list[bool] = []  # noqa: RUF012 - once for all

    def __reduce__(self) -> Any:
        if not self.sent:
            self.sent.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return str, (str(self),)


@pytest.mark.slow
def test_ctrl_c_while_workers_start_reaches_all_of_them(tmp_path: Path) -> None:
    study = new_study(tmp_path, rounds=30)
    result = study.run(climb, devices=[Interrupting("cuda:0"), "cuda:1"], progress=False)
    assert result.interrupted
    assert study.status().state == "open"
    assert study.jobs("running") == study.failures() == []

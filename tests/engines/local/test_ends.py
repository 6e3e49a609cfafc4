"""How workers end: in order, in bounded time, and when every process of a job gets a signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import psutil
import pytest

import evolvent as ev
from evolvent.engines.local import process
from tests.engines import ends
from tests.engines.local.test_driver import Watcher, new_study
from tests.engines.test_hostile import wait_until


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for what training code leaves behind."""
    (tmp_path / "ends").mkdir()
    monkeypatch.setenv(ends.HOME, str(tmp_path / "ends"))
    monkeypatch.setenv("EVOLVENT_TEST_STORE", f"sqlite:///{tmp_path}/e.db")
    return tmp_path / "ends"


def assert_orderly(home: Path, study: ev.Study) -> None:
    """Every worker that trained has flushed its file and called its hook."""
    written = sorted(row for file in home.glob("rows-*") for row in file.read_text().split())
    assert written == sorted(job.id for job in study.jobs("done"))
    assert len(list(home.glob("bye-*"))) == len(list(home.glob("rows-*"))) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "trainable",
    [
        ends.leaves_a_file_and_a_hook,
        ends.stops_its_study,
        ends.breaks_its_contract,
        ends.breaks_by_surprise,
    ],
)
def test_files_are_flushed_and_hooks_called_however_work_ends(
    tmp_path: Path, home: Path, trainable: Any
) -> None:
    study = new_study(tmp_path, synchronous=True)
    if trainable is ends.breaks_its_contract:
        with pytest.raises(ev.TrainableError):
            study.run(trainable, workers=2, progress=False)
    else:
        study.run(trainable, workers=2, progress=False)
    assert_orderly(home, study)


SCRIPT = """
    import multiprocessing, os, time
    import evolvent as ev

    def idle():
        time.sleep(1)

    def train(job):
        idle, multiprocessing
        if job.round == 1:
            return {}
        global out
        if "out" not in globals():
            out = open(os.environ["EVOLVENT_TEST_ENDS"] + "/rows", "w")
        out.write(f"{job.id}\\n")
        return {"at": 1.0}

    try:
        study = ev.load_study(store=os.environ["EVOLVENT_TEST_STORE"])
        study.run(train, workers=1, progress=False)
    except ev.TrainableError:
        pass
"""


def test_files_of_a_script_are_flushed(tmp_path: Path, home: Path) -> None:
    """Its globals are in no module of the worker, but in a cycle with its functions."""
    new_study(tmp_path, synchronous=True)
    subprocess.run([sys.executable, "-c", textwrap.dedent(SCRIPT)], check=True, timeout=60)
    assert len((home / "rows").read_text().split()) == 4


@pytest.mark.slow
def test_files_are_flushed_and_hooks_called_at_the_wall_time(tmp_path: Path, home: Path) -> None:
    study = new_study(tmp_path)

    class Going(Watcher):
        def update(self, status: Any, members: Any) -> None:
            """Hold up the driver until a job runs, which ends when the study has been stopped."""
            wait_until(lambda: list(home.glob("at-*")))
            if status.stopped:
                (home / "go").touch()

    watcher = Going()
    study.run(ends.waits_for_go, workers=1, wall_time_s=0.01, progress=watcher)
    assert "wall time" in watcher.ended
    assert len(study.jobs("done")) == 1
    assert_orderly(home, study)


@pytest.mark.slow
def test_what_hangs_at_exit_is_ended_and_told(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_LONGEST_END_S", 0.5)
    study, watcher = new_study(tmp_path, population=2), Watcher()
    study.run(ends.hangs_at_exit, workers=2, progress=watcher)
    assert study.status().state == "finished"
    assert study.failures() == []
    assert any("was ended" in line and "atexit" in line for line in watcher.lines)
    rows = [row for file in home.glob("rows-*") for row in file.read_text().split()]
    assert len(rows) == len(study.jobs("done")), "what had been written by then is not lost"


def test_a_crash_after_the_work_is_no_failure_and_told(tmp_path: Path, home: Path) -> None:
    study, watcher = new_study(tmp_path), Watcher()
    study.run(ends.dies_at_exit, workers=1, progress=watcher)
    assert study.status().state == "finished"
    assert study.failures() == []
    assert [line for line in watcher.lines if "SIGABRT" in line] == ["worker 0 killed by SIGABRT"]
    assert_orderly(home, study)


@pytest.mark.slow
def test_a_thread_that_goes_on_holds_up_no_hook(tmp_path: Path, home: Path) -> None:
    study = new_study(tmp_path)
    study.run(ends.leaves_a_thread, workers=1, progress=False)
    assert_orderly(home, study)


class Script:
    """A driver and its workers in a session of their own, as a queue starts a job."""

    def __init__(self, home: Path, trainable: str, *, workers: int, options: str = "") -> None:
        self._home = home
        script = f"""
            import os
            import evolvent as ev
            from tests.engines import ends
            study = ev.load_study(store=os.environ["EVOLVENT_TEST_STORE"])
            result = study.run(ends.{trainable}, workers={workers}, {options})
            print("interrupted", result.interrupted)
        """
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )

    def all(self) -> list[psutil.Process]:
        driver = psutil.Process(self.process.pid)
        return [driver, *driver.children(recursive=True)]

    def wait_for_jobs(self, n: int) -> None:
        wait_until(lambda: len(list(self._home.glob("at-*"))) >= n)

    def wait_until_it_finishes(self) -> None:
        """Wait until it has said that it finishes the running jobs."""
        assert self.process.stdout is not None  # opened as a pipe above
        printed = iter(self.process.stdout.readline, "")
        assert any("once more stops at once" in line for line in printed)

    def go(self) -> str:
        """Let training go on; return what the run printed to its end."""
        (self._home / "go").touch()
        printed, _ = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, printed
        return printed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_every_process_lets_the_running_jobs_finish(
    tmp_path: Path, home: Path, number: signal.Signals
) -> None:
    study = new_study(tmp_path)
    script = Script(home, "waits_for_go", workers=2)
    script.wait_for_jobs(2)
    for one in reversed(script.all()):  # the driver last: it must not replace a worker meanwhile
        one.send_signal(number)
    if number == signal.SIGTERM:  # as `timeout` does, which tells its child, and then the group
        os.killpg(script.process.pid, number)
    assert "interrupted True" in script.go()
    assert {str(job.state) for job in study.jobs()} == {"done", "queued"}
    assert len(study.jobs("done")) == 2
    assert study.failures() == []
    assert_orderly(home, study)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_round_that_breaks_because_its_helper_got_the_signal_is_handed_back(
    tmp_path: Path, home: Path, workers: int
) -> None:
    study = new_study(tmp_path, max_failures=0)
    script = Script(home, "leans_on_a_helper", workers=workers)
    script.wait_for_jobs(max(1, workers))
    for one in script.all():
        one.send_signal(signal.SIGTERM)
    assert "interrupted True" in script.go()
    assert {str(job.state) for job in study.jobs()} == {"queued"}
    assert [str(f.failure.kind) for f in study.failures()] == ["returned"] * max(1, workers)


def test_a_worker_that_alone_gets_a_signal_finishes_its_job_and_is_replaced(
    tmp_path: Path, home: Path
) -> None:
    study = new_study(tmp_path)
    script = Script(home, "waits_for_go", workers=1)
    script.wait_for_jobs(1)
    psutil.Process(script.process.pid).children()[0].send_signal(signal.SIGTERM)
    printed = script.go()
    assert "worker 0 was asked to end by a signal: replacing it" in printed
    assert "interrupted False" in printed
    assert len(study.jobs("done")) == 12
    assert study.failures() == []
    assert_orderly(home, study)


def assert_handed_back(study: ev.Study, reason: str, n: int) -> None:
    """All jobs wait to be done, and the log says why `n` attempts came to nothing."""
    assert {str(job.state) for job in study.jobs()} == {"queued"}
    failures = [f.failure for f in study.failures()]
    assert [str(failure.kind) for failure in failures] == ["returned"] * n
    assert all(reason in failure.message for failure in failures)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_jobs_that_outlast_the_grace_go_back_to_the_queue(
    tmp_path: Path, home: Path, workers: int
) -> None:
    study = new_study(tmp_path, max_failures=0)
    script = Script(home, "waits_for_go", workers=workers, options="grace_s=0.2")
    script.wait_for_jobs(max(1, workers))
    for one in reversed(script.all()):  # to every process, as a scheduler sends it
        one.send_signal(signal.SIGTERM)
    printed, _ = script.process.communicate(timeout=30)
    assert script.process.returncode == 0, printed
    assert "for 0.2 s at most; once more stops at once" in printed
    assert "interrupted True" in printed
    reason = "not finished within 0.2 s" if workers else "KeyboardInterrupt"
    assert_handed_back(study, reason, max(1, workers))
    assert study.run(ends.leaves_a_file_and_a_hook, workers=1, progress=False).best.score


@pytest.mark.parametrize("workers", [0, 1])
def test_jobs_that_end_within_the_grace_are_kept(tmp_path: Path, home: Path, workers: int) -> None:
    study = new_study(tmp_path)
    script = Script(home, "waits_for_go", workers=workers, options="grace_s=600")
    script.wait_for_jobs(1)
    script.process.send_signal(signal.SIGTERM)
    script.wait_until_it_finishes()
    assert "interrupted True" in script.go(), "and it waits for no more than the job"
    assert len(study.jobs("done")) == 1
    assert study.failures() == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_second_signal_ends_a_run_at_once(tmp_path: Path, home: Path, workers: int) -> None:
    study = new_study(tmp_path, max_failures=0)
    script = Script(home, "waits_for_go", workers=workers)
    script.wait_for_jobs(max(1, workers))
    script.process.send_signal(signal.SIGTERM)
    script.wait_until_it_finishes()
    script.process.send_signal(signal.SIGINT)  # of another kind: no repetition of the first
    script.process.communicate(timeout=30)
    assert script.process.returncode != 0
    assert_handed_back(study, "" if workers else "KeyboardInterrupt", max(1, workers))


def test_a_worker_that_joined_hands_its_job_back_after_the_grace(
    tmp_path: Path, home: Path
) -> None:
    study = new_study(tmp_path, max_failures=0)
    worker = subprocess.Popen(
        [
            sys.executable, "-m", "evolvent", "worker", f"sqlite:///{tmp_path}/e.db", "s",
            "tests.engines.ends:waits_for_go", "--grace", "0.2",
        ],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: list(home.glob("at-*")))
    os.killpg(worker.pid, signal.SIGTERM)
    assert worker.wait(timeout=30) == 130, "as of a command that was interrupted"
    assert_handed_back(study, "not finished within 0.2 s", 1)

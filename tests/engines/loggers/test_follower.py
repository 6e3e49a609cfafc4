"""Loggers beside a run: they get everything once, and nothing they do stops training."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import evolvent as ev
from evolvent.engines.loggers import follower as following
from evolvent.engines.loggers.protocol import Entry
from evolvent.engines.observer import NullObserver
from evolvent.store.records import StudyStatus
from tests.integrations.logged import MEMBERS, ROUNDS, new_study, train, url

ALL = MEMBERS * ROUNDS


class Notebook:
    """A logger that keeps what it gets, and fails when it is told to."""

    place = "a notebook"

    def __init__(self, fault: Callable[[], None] = lambda: None) -> None:
        self.jobs: dict[str, Entry] = {}
        self.calls: list[str] = []
        self._fault = fault

    def check(self, status: StudyStatus) -> None:
        self.calls.append("check")

    def open(self, status: StudyStatus) -> None:
        self.calls.append("open")

    def write(self, entries: Sequence[Entry]) -> None:
        self._fault()
        self.jobs |= {str(entry.job.id): entry for entry in entries}

    def close(self, status: StudyStatus) -> None:
        self.calls.append("close")


class Lines(NullObserver):
    """Keeps the lines of a run."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


class Faults:
    """Raises the first so many times."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self) -> None:
        self.left -= 1
        if self.left >= 0:
            raise OSError("the line is dead")


@pytest.fixture
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let loggers look at the log more often than once a second."""
    monkeypatch.setattr(following, "_LOOK_EVERY_S", 0.01)


def run(study: ev.Study, *loggers: Notebook, workers: int = 0, trainable=train) -> list[str]:
    shown = Lines()
    study.run(trainable, workers=workers, progress=shown, loggers=loggers)
    # What loggers say; m2r3 fails, which is another matter.
    return [line for line in shown.lines if not line.startswith("m2r3 failed")]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_logger_gets_every_finished_job(tmp_path: Path, workers: int) -> None:
    notebook = Notebook()
    study = new_study(url(tmp_path))
    assert run(study, notebook, workers=workers) == []
    assert set(notebook.jobs) == {str(job.id) for job in study.jobs()}
    assert notebook.calls == ["check", "open", "close"]


@pytest.mark.usefixtures("_often")
def test_a_logger_writes_while_the_study_trains() -> None:
    seen = threading.Event()
    notebook = Notebook(seen.set)

    def wait_in_the_last_round(job: ev.Job) -> dict[str, float]:
        assert job.round < ROUNDS - 1 or seen.wait(30)
        return train(job)

    run(new_study(), notebook, trainable=wait_in_the_last_round)
    assert len(notebook.jobs) == ALL


@pytest.mark.usefixtures("_often")
def test_training_does_not_wait_for_a_logger_that_hangs() -> None:
    trained = threading.Event()

    def train_and_tell(job: ev.Job) -> dict[str, float]:
        if (job.member, job.round) == (2, ROUNDS - 1):
            trained.set()
        time.sleep(0.002)  # so that the logger has something to do before the end
        return train(job)

    notebook = Notebook(lambda: trained.wait(30) or pytest.fail("training waited"))
    run(new_study(), notebook, trainable=train_and_tell)
    assert len(notebook.jobs) == ALL


def test_a_logger_that_fails_is_told_once_and_nothing_is_missing_in_the_end() -> None:
    notebook = Notebook(Faults(1))
    study = new_study()
    shown = Lines()
    follower = following.LogFollower(study.store, study.id, notebook)
    thread = following.LoggerThread(follower, shown.line)
    study.run(train, workers=0, progress=False)
    assert not thread._try(follower.catch_up)
    assert thread._try(follower.catch_up)
    assert len(notebook.jobs) == ALL
    assert notebook.calls == ["open", "open"]
    assert shown.lines == [
        "a notebook: OSError: the line is dead; training goes on without it",
        "a notebook: all is well again, nothing is missing",
    ]


@pytest.mark.usefixtures("_often")
def test_a_logger_that_leaves_is_told_and_tried_again() -> None:
    left: list[bool] = []

    def leave() -> None:  # as rich does when nobody reads what it prints
        if not left:
            left.append(True)
            raise SystemExit(1)

    notebook = Notebook(leave)
    assert "a notebook: SystemExit: 1; training goes on without it" in run(new_study(), notebook)
    assert len(notebook.jobs) == ALL


@pytest.mark.usefixtures("_often")
def test_a_logger_that_always_fails_is_told_once_and_at_the_end() -> None:
    healthy = Notebook()
    study = new_study()
    lines = run(study, Notebook(Faults(10**6)), healthy)
    assert study.status().state == "finished"
    assert lines == [
        "a notebook: OSError: the line is dead; training goes on without it",
        "a notebook: not all is written; `evolvent log` writes the rest from the study's own log",
    ]
    assert len(healthy.jobs) == ALL


def test_a_logger_that_cannot_write_is_refused_before_training() -> None:
    class Refusing(Notebook):
        def check(self, status: StudyStatus) -> None:
            raise ev.ConfigError("directory: got '/nowhere'")

    study = new_study()
    with pytest.raises(ev.ConfigError, match="/nowhere"):
        study.run(train, workers=0, progress=False, loggers=[Refusing()])
    assert study.jobs("done") == []


def test_a_study_that_is_over_is_written_by_another_run() -> None:
    study = new_study()
    study.run(train, workers=0, progress=False)
    notebook = Notebook()
    run(study, notebook)
    assert len(notebook.jobs) == ALL


def test_what_is_trained_before_an_interrupt_is_written() -> None:
    def interrupt(job: ev.Job) -> dict[str, float]:
        if job.round == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return train(job)

    notebook, study = Notebook(), new_study()
    run(study, notebook, trainable=interrupt)
    done = {str(job.id) for job in study.jobs("done")}
    assert 2 * MEMBERS < len(done) < ALL
    assert set(notebook.jobs) == done
    assert notebook.calls[-1] == "close"


def test_what_is_trained_before_an_error_is_written() -> None:
    def break_off(job: ev.Job) -> dict[str, float]:
        return {} if job.round == 2 else train(job)

    notebook, study = Notebook(), new_study()
    with pytest.raises(ev.TrainableError):
        run(study, notebook, trainable=break_off)
    assert len(notebook.jobs) == 2 * MEMBERS
    assert notebook.calls[-1] == "close"


def test_points_are_read_when_they_are_asked_for() -> None:
    notebook = Notebook()
    run(new_study(), notebook)
    assert [place for place, _ in notebook.jobs["m1r4"].points] == [0.25, 0.5, 0.75]


def test_a_log_of_many_pages_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_PAGE", 5)
    notebook = Notebook()
    run(new_study(), notebook)
    assert [entry.number for entry in notebook.jobs.values()] == list(range(ALL))
    assert notebook.jobs["m2r4"].age == 5

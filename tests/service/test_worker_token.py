"""A token of role worker is enough to train: whatever only an admin may do is not needed for it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from evolvent.core.records import JobState
from evolvent.engines.observer import NullObserver
from evolvent.errors import Forbidden, StudyExists
from evolvent.store.connect import open_store
from evolvent.store.records import StudyStatus
from tests import trainables
from tests.cli.commands import fine, study_file
from tests.service.threaded import Service, service
from tests.settings import there_are


class Listener(NullObserver):
    """Notes what a run is told at its end."""

    def __init__(self, told: list[str]) -> None:
        self._told = told

    def finish(self, status: StudyStatus, summary: str) -> None:
        self._told.append(summary)


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service; this machine has a token for workers at one study."""
    store = open_store(f"sqlite:///{tmp_path / 'log.db'}")
    with service(store) as made:
        monkeypatch.setenv("EVOLVENT_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("EVOLVENT_TOKEN", made.token("worker", study="hill"))
        yield made
    store.close()


@pytest.fixture
def study(running: Service) -> Iterator[ev.Study]:
    """The study as a worker sees it, over HTTP."""
    store = open_store(running.url)
    new_study(running)
    yield ev.load_study("hill", store=store)
    store.close()


def new_study(running: Service, **changes: Any) -> ev.Study:
    """Make the study as its admin does."""
    settings: dict[str, Any] = {"space": {"step": ev.Uniform(0.1, 1.0)}, "population": 3}
    settings |= {"metric": "height", "mode": "max", "rounds": 2, "durability": "process"}
    return ev.create_study("hill", store=running.store, **(settings | changes))


@pytest.mark.parametrize("workers", [0, 2])
def test_run_trains_to_the_end(
    workers: int, study: ev.Study, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "evolvent"):
        result = study.run(trainables.climb, workers=workers, progress=False)
    assert there_are(result.status) == {JobState.DONE: 6}
    assert study.record.trainable is None  # others would import it: not for a worker to say
    (told,) = [record.message for record in caplog.records if "remember" in record.message]
    assert "'hill' does not remember 'tests.trainables:climb'" in told
    assert "has the role worker: this needs admin" in told


def test_run_of_what_is_finished_returns_its_result(study: ev.Study) -> None:
    first = study.run(trainables.climb, workers=0, progress=False)
    again = study.run(trainables.climb, workers=0, progress=False)
    assert again.best.job == first.best.job
    assert there_are(again.status) == {JobState.DONE: 6}


def test_run_starts_nothing_again_that_was_stopped(running: Service, study: ev.Study) -> None:
    ev.load_study("hill", store=running.store).stop("lunch")
    with pytest.raises(Forbidden, match="this needs admin"):
        study.run(trainables.climb, workers=0, progress=False)
    assert there_are(study.status()) == {JobState.QUEUED: 3}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_whose_time_is_up_ends_alone_and_leaves_the_study_open(
    workers: int, running: Service
) -> None:
    new_study(running, rounds=1000)
    told: list[str] = []
    with contextlib.closing(open_store(running.url)) as store:
        study = ev.load_study("hill", store=store)
        result = study.run(
            trainables.climb_slowly, workers=workers, wall_time_s=5.0, progress=Listener(told)
        )
        assert result.status.state == "open"
        counts = study.status().counts
        assert counts[JobState.QUEUED] == 3
        assert counts[JobState.DONE] >= 1
        assert counts[JobState.RUNNING] == 0
    assert told[-1].startswith(f"out of time after {counts[JobState.DONE]} jobs")


def test_an_admin_s_run_is_remembered_and_starts_what_was_stopped(
    running: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_study(running).stop("lunch")
    monkeypatch.setenv("EVOLVENT_TOKEN", running.token("admin", study="hill"))
    study = ev.load_study("hill", store=running.url)
    study.run(trainables.climb, workers=0, progress=False)
    assert study.record.trainable == "tests.trainables:climb"
    assert study.status().state == "finished"
    study.store.close()


def test_worker_command_trains_to_the_end(running: Service) -> None:
    study = new_study(running, trainable="tests.trainables:climb")
    fine("worker", running.url, "hill")
    assert there_are(study.status()) == {JobState.DONE: 6}


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "exec"])
def test_study_file_of_a_study_that_is_there_is_trained_to_the_end(
    command: str, running: Service, tmp_path: Path
) -> None:
    study, path = new_study(running, seed=1), study_file(tmp_path)
    script = """echo $1 > "$2/step"; echo '{{"height": '$1'}}'"""
    words = ("--", "sh", "-c", script, "sh", "{step}", "{directory}")
    fine(command, path, "--store", running.url, *(words if command == "exec" else ()))
    assert there_are(study.status()) == {JobState.DONE: 6}


def test_create_study_goes_on_with_none_but_the_same(running: Service) -> None:
    settings: dict[str, Any] = {"metric": "height", "mode": "max", "population": 3, "rounds": 2}
    settings |= {"space": {"step": ev.Uniform(0.1, 1.0)}, "durability": "process"}
    with contextlib.closing(open_store(running.url)) as store:
        with pytest.raises(Forbidden, match="this needs admin"):
            ev.create_study("hill", store=store, **settings, resume=True)
        new_study(running)
        assert ev.create_study("hill", store=store, **settings, resume=True).name == "hill"
        with pytest.raises(Forbidden, match="this needs admin"):
            ev.create_study("hill", store=store, **settings)
        with pytest.raises(StudyExists, match="with another seed"):
            ev.create_study("hill", store=store, **settings, seed=7, resume=True)


def test_training_that_saves_nothing_works_over_http_as_it_does_here(study: ev.Study) -> None:
    study.run(lambda job: {"height": float(job.round)}, workers=0, progress=False)
    assert {job.state for job in study.jobs()} == {JobState.DONE}
    assert study.result().best.checkpoint.is_dir()

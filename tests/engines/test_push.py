"""Models that were trained elsewhere join a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from tests.engines.local.test_driver import new_study
from tests.engines.trainables import climb


@pytest.fixture
def study(tmp_path: Path) -> ev.Study:
    algorithm = ev.PBT(ev.CopyBest(), ev.NoExplore())
    return new_study(tmp_path, store="memory://", algorithm=algorithm)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that `climb` can go on with."""
    directory = tmp_path / "model"
    (directory / "logs").mkdir(parents=True)
    (directory / "at.json").write_text("50.0")
    return directory


def test_pushed_model_is_copied_by_the_others(study: ev.Study, model: Path) -> None:
    job = study.push({"step": 0.5}, metrics={"at": 50.0, "loss": 0.1}, checkpoint=model)
    assert job == "m4r0"
    pushed = study.job(job)
    assert (pushed.state, pushed.score) == ("done", 50.0)
    assert pushed.metrics == {"at": 50.0, "loss": 0.1}
    assert (study.checkpoint(job) / "at.json").read_text() == "50.0"
    result = study.run(climb, workers=0, progress=False)
    assert result.best.lineage[0].id == "m4r0"
    assert all(view.newest and view.newest.score > 50 for view in study.members())


def test_pushed_model_stays_as_it_is_and_may_be_read_only(study: ev.Study, model: Path) -> None:
    (model / "at.json").chmod(0o444)
    (model / "logs").chmod(0o555)
    study.push({"step": 0.5}, metrics={"at": 50.0}, checkpoint=str(model))
    (model / "at.json").chmod(0o644)
    (model / "at.json").write_text("0.0")
    assert json.loads((study.checkpoint("m4r0") / "at.json").read_text()) == 50.0


def test_score_of_a_metric_to_be_minimised_is_turned(tmp_path: Path, model: Path) -> None:
    study = new_study(tmp_path, store="memory://", mode="min")
    study.push({"step": 0.5}, metrics={"at": 50.0}, checkpoint=model)
    assert study.job("m4r0").score == -50.0
    assert study.result().best.value == 50.0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hyperparameters": {}}, "hyperparameter step: missing"),
        ({"hyperparameters": {"step": 9.0}}, "hyperparameter step: got 9.0"),
        ({"metrics": None}, "metrics: missing"),
        ({"checkpoint": None}, "checkpoint: missing"),
        ({"metrics": {}}, "metrics: .*'at'"),
        ({"metrics": {"loss": 1.0}}, "metrics: 'loss': wanted .*'at'"),
        ({"metrics": {"at": float("nan")}}, "metrics: .*nan, wanted a finite number"),
        ({"metrics": {"at": "high"}}, "metrics: .*'at' must be a number"),
        ({"checkpoint": "nowhere"}, "checkpoint: got nowhere, wanted a directory"),
        ({"checkpoint": __file__}, "checkpoint: got .*, wanted a directory"),
    ],
)
def test_model_that_lacks_something_is_refused_and_nothing_is_left(
    study: ev.Study, model: Path, changes: dict[str, Any], told: str
) -> None:
    given = {"hyperparameters": {"step": 0.5}, "metrics": {"at": 50.0}, "checkpoint": model}
    with pytest.raises(ev.EvolventError, match=told) as raised:
        study.push(**(given | changes))
    assert isinstance(raised.value, ValueError)
    assert study.status().members == 4
    assert study.collect() == 0


def test_empty_directory_and_links_are_refused(study: ev.Study, tmp_path: Path) -> None:
    empty, linked = tmp_path / "empty", tmp_path / "linked"
    empty.mkdir()
    linked.mkdir()
    (linked / "w").symlink_to(__file__)
    with pytest.raises(ev.ConfigError, match="is empty"):
        study.push({"step": 0.5}, metrics={"at": 50.0}, checkpoint=empty)
    with pytest.raises(ev.CheckpointError, match="linked/w is a symbolic link"):
        study.push({"step": 0.5}, metrics={"at": 50.0}, checkpoint=linked)

"""Figures from the names of studies and from results."""

from __future__ import annotations

from pathlib import Path

import pytest

import evolvent as ev
from tests import trainables
from tests.needs import needs

needs("altair")
needs("vl_convert")


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/studies.db"


def trained(store: str, name: str, **changes) -> ev.Result:
    settings = {"metric": "height", "mode": "max", "population": 3, "rounds": 2, "seed": 1}
    space = {"step": ev.Uniform(0.1, 1.0), "optimizer": {"lr": ev.LogUniform(1e-4, 1.0)}}
    study = ev.create_study(
        name, space=space, store=store, durability="process", **(settings | changes)
    )
    return study.run(trainables.climb, workers=0, progress=False)


def test_result_is_drawn_and_written(store, tmp_path):
    chart = trained(store, "hill").plot("schedule", file=tmp_path / "s.svg", dark=True)
    assert "optimizer.lr" in (tmp_path / "s.svg").read_text()
    assert chart.to_dict()["config"]["background"] == "#0d1117"


def test_results_of_one_name_are_told_apart(store, tmp_path):
    here = trained(store, "hill")
    there = trained(f"sqlite:///{tmp_path}/other.db", "hill", seed=2)
    here.plot("compare", there, file=tmp_path / "c.svg")
    assert "hill (2)" in (tmp_path / "c.svg").read_text()


def test_studies_are_found_by_patterns_as_seeds_of_an_arm(store, tmp_path):
    for seed in (1, 2):
        trained(store, f"a-{seed}", seed=seed)
        trained(store, f"b-{seed}", seed=seed, algorithm=ev.RandomSearch())
    ev.plot("compare", "a-*", "b-*", store=store, file=tmp_path / "c.svg")
    assert "a-* (2 seeds)" in (tmp_path / "c.svg").read_text()


def test_study_without_a_job_is_drawn_empty(store, tmp_path):
    ev.create_study(
        "new", metric="q", mode="max", space={"x": 1}, population=2, rounds=1, store=store
    )
    ev.plot("family", "new", store=store, file=tmp_path / "f.svg")
    assert "No job has finished yet." in (tmp_path / "f.svg").read_text()


def test_nothing_is_read_for_a_wish_that_cannot_be_granted(tmp_path):
    nowhere = f"sqlite:///{tmp_path}/nowhere.db"
    with pytest.raises(ev.ConfigError, match="kind: got 'pie'"):
        ev.plot("pie", "x", store=nowhere)
    with pytest.raises(ev.ConfigError, match="wanted a name ending in"):
        ev.plot("scores", "x", store=nowhere, file="x.gif")
    with pytest.raises(ev.ConfigError, match="got an option 'colour'"):
        ev.plot("scores", "x", store=nowhere, colour="red")
